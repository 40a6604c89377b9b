import type { Service } from './model.ts';
import type { Values } from './wire.ts';

/** IAM actions that a call needs, by AWS' service authorization reference. */
export function actionsOf(service: Service, name: string, input: Values): string[] {
  const actions = [`${service}:${name}`];
  // Tags that are given while something is made need the right to tag; EBS direct counts its tags as EC2's.
  if (input.TagSpecifications || (service === 'ebs' && input.Tags)) actions.push('ec2:CreateTags');
  if (name === 'DeregisterImage' && input.DeleteAssociatedSnapshots) actions.push('ec2:DeleteSnapshot');
  // SSM looks for the image with the caller's own rights.
  if (name === 'PutParameter' && input.DataType === 'aws:ec2:image') actions.push('ec2:DescribeImages');
  return actions;
}
