import type { Handler } from './handler.ts';
import { ACCOUNT, type FakeParameter, type Region, tagsFrom } from './state.ts';
import { ApiError, type Values } from './wire.ts';

const notFound = () => new ApiError('ParameterNotFound', 'the parameter does not exist');

function asParameter(region: Region, { name, value, type, dataType, version }: FakeParameter): Values {
  return {
    Name: name,
    Value: value,
    Type: type,
    DataType: dataType,
    Version: version,
    ARN: `arn:aws:ssm:${region.name}:${ACCOUNT}:parameter${name}`,
  };
}

/** A value of type aws:ec2:image counts once SSM has looked. */
function look(parameter: FakeParameter): void {
  if (!parameter.next || parameter.next.reads-- > 0) return;
  parameter.value = parameter.next.value;
  parameter.version++;
  parameter.next = undefined;
}

/** Parameter Store. */
export const SSM: Record<string, Handler> = {
  PutParameter: ({ region }, input) => {
    const {
      Name,
      Value,
      Type,
      DataType = 'text',
      Tier = 'Standard',
      Overwrite = false,
      Tags,
    } = input as Record<string, string>;
    if (!/^(\/[A-Za-z0-9_.-]+){1,15}$/.test(Name as string))
      throw new ApiError('ValidationException', `Parameter name ${Name} is not valid`);
    if (/^\/(aws|ssm)/i.test(Name as string))
      throw new ApiError('ValidationException', 'names may not begin with aws or ssm');
    if (Tags && Overwrite) throw new ApiError('ValidationException', 'tags and overwrite can not be used together');
    const known = region.parameters.get(Name as string);
    if (known && !Overwrite) throw new ApiError('ParameterAlreadyExists', 'The parameter already exists.');
    if (!known && !Type)
      throw new ApiError('ValidationException', 'A parameter type is required when you create a parameter.');
    const isImage = DataType === 'aws:ec2:image';
    if (!isImage && DataType !== 'text')
      throw new ApiError('ValidationException', `data type ${DataType} is not supported`);
    if (isImage && !region.images.has(Value as string))
      throw new ApiError('ValidationException', `${Value} is not an AMI of ${region.name}`);
    const parameter: FakeParameter = {
      name: Name as string,
      value: known?.value ?? '',
      type: Type ?? known?.type ?? 'String',
      dataType: DataType,
      tier: Tier,
      version: known?.version ?? 0,
      tags: known?.tags ?? tagsFrom(Tags),
      next: { value: Value as string, reads: isImage ? 1 : 0 },
    };
    if (!isImage) look(parameter);
    region.parameters.set(parameter.name, parameter);
    return { Version: parameter.version + (isImage ? 1 : 0), Tier };
  },

  GetParameter: ({ region }, input) => {
    const parameter = region.parameters.get(input.Name as string);
    if (!parameter) throw notFound();
    look(parameter);
    if (parameter.version === 0) throw notFound();
    return { Parameter: asParameter(region, parameter) };
  },

  GetParametersByPath: ({ state, region }, input) => {
    const path = String(input.Path).replace(/\/?$/, '/');
    const all = [...region.parameters.values()].filter(
      ({ name, version }) =>
        version > 0 && name.startsWith(path) && (input.Recursive || !name.slice(path.length).includes('/')),
    );
    // Ten at most, as the API has it.
    const size = Math.min((input.MaxResults as number | undefined) ?? 10, 10, state.behaviour.pageSize);
    const from = Number(input.NextToken ?? 0);
    return {
      Parameters: all.slice(from, from + size).map((parameter) => asParameter(region, parameter)),
      ...(from + size < all.length && { NextToken: String(from + size) }),
    };
  },

  DeleteParameter: ({ region }, input) => {
    if (!region.parameters.delete(input.Name as string)) throw notFound();
    return {};
  },

  AddTagsToResource: ({ region }, input) => {
    const parameter = region.parameters.get(input.ResourceId as string);
    if (input.ResourceType !== 'Parameter' || !parameter) throw new ApiError('InvalidResourceId', 'no such resource');
    for (const [key, value] of tagsFrom(input.Tags)) parameter.tags.set(key, value);
    return {};
  },
};
