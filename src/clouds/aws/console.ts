import { GetConsoleOutputCommand } from '@aws-sdk/client-ec2';
import { codeOf } from './errors.ts';
import type { Session } from './session.ts';

/** What a machine's serial console holds, at most its last 64 KiB; that of a machine which ended stays readable for an hour. */
export function consoleOf(session: Session, region: string, instanceId: string): Promise<string> {
  const read = (Latest: boolean) =>
    session.ec2(region).send(new GetConsoleOutputCommand({ InstanceId: instanceId, Latest }));
  return session.ask(
    `reading the console of ${instanceId}`,
    async () => {
      const { Output } = await read(true).catch((error: unknown) => {
        // Only Nitro machines give the console while they run; others when they like.
        if (codeOf(error) !== 'UnsupportedOperation') throw error;
        return read(false);
      });
      return Buffer.from(Output ?? '', 'base64').toString('utf8');
    },
    { fresh: true },
  );
}
