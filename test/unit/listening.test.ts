import test from 'ava';
import { listeningOn } from '../../src/verify/stages/listening.ts';
import type { Target } from '../../src/verify/targets/target.ts';

test('what a box listens on is told alike for every instance', async (t) => {
  // ss(8), -Hltnup, and the kernel's range below it.
  const stdout = `udp   UNCONN 0      0      127.0.0.54:53        0.0.0.0:*    users:(("systemd-resolve",pid=90,fd=16))
udp   UNCONN 0      0         0.0.0.0:41234     0.0.0.0:*    users:(("openclaw",pid=700,fd=40))
tcp   LISTEN 0      1900      0.0.0.0:443       0.0.0.0:*    users:(("haproxy",pid=800,fd=7),("haproxy",pid=801,fd=7))
tcp   LISTEN 0      128       0.0.0.0:27311     0.0.0.0:*    users:(("sshd",pid=300,fd=3))
tcp   LISTEN 0      128          [::]:27311        [::]:*    users:(("sshd",pid=300,fd=4))
tcp   LISTEN 0      511     127.0.0.1:7860      0.0.0.0:*
32768\t60999
`;
  const target = { exec: async () => ({ exitCode: 0, stdout, stderr: '' }) } as unknown as Target;
  t.deepEqual(await listeningOn(target), [
    ...['tcp 0.0.0.0:443 haproxy', 'tcp 0.0.0.0:ssh sshd', 'tcp 127.0.0.1:7860 kernel', 'tcp [::]:ssh sshd'],
    ...['udp 0.0.0.0:any openclaw', 'udp 127.0.0.54:53 systemd-resolve'],
  ]);
});
