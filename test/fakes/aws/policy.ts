/** IAM's judgement of requests, as far as docs/clouds/aws-policy.json uses its language; anything else is an error. */

type Many = string | string[];

export interface Statement {
  Sid?: string;
  Effect: 'Allow' | 'Deny';
  Action: Many;
  Resource: Many;
  /** Operator → key → values. */
  Condition?: Record<string, Record<string, Many>>;
}

export interface Policy {
  Version: string;
  Statement: Statement[];
}

/** One action on one resource: a call asks IAM about each. */
export interface Asked {
  action: string;
  resource: string;
  /** Condition keys that the service supplies; one that isn't here has no value. */
  keys: Record<string, Many>;
}

const KEYS = /^(aws:(RequestTag|ResourceTag)\/.+|aws:CalledVia|aws:TagKeys|ec2:(CreateAction|InstanceType))$/;

const some = (many: Many): string[] => [many].flat();

/** Operator → whether it holds. A key without a value fails what asks for one, and satisfies what forbids one. */
const OPERATORS: Record<string, (actual: string[], wanted: string[]) => boolean> = {
  StringEquals: ([actual, ...more], wanted) => actual !== undefined && more.length === 0 && wanted.includes(actual),
  StringNotEquals: ([actual], wanted) => actual === undefined || !wanted.includes(actual),
  'ForAnyValue:StringEquals': (actual, wanted) => actual.some((one) => wanted.includes(one)),
  'ForAllValues:StringEquals': (actual, wanted) => actual.every((one) => wanted.includes(one)),
  Null: (actual, [wanted]) => (actual.length === 0) === (wanted === 'true'),
};

/** @returns the first of what is asked that isn't allowed, or is denied. @throws Error for what it can't judge. */
export function refusedBy({ Statement }: Policy, all: Asked[]): Asked | undefined {
  return all.find((asked) => {
    const applying = Statement.filter((statement) => applies(statement, asked));
    return applying.length === 0 || applying.some(({ Effect }) => Effect === 'Deny');
  });
}

function applies({ Action, Resource, Condition = {} }: Statement, { action, resource, keys }: Asked): boolean {
  const conditions = Object.entries(Condition).flatMap(([operator, byKey]) =>
    Object.entries(byKey).map(([key, wanted]) => {
      const holds = OPERATORS[operator];
      if (!holds || !KEYS.test(key)) throw new Error(`the fake can't judge ${operator} of ${key}`);
      return () => holds(some(keys[key] ?? []), some(wanted));
    }),
  );
  return (
    some(Action).some((pattern) => isLike(action, pattern)) &&
    some(Resource).some((pattern) => isLike(resource, pattern)) &&
    conditions.every((holds) => holds())
  );
}

/** `*` stands for any characters; in an ARN of what isn't there yet it stands for itself. */
function isLike(text: string, pattern: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\/]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(text);
}
