/**
 * The guest's half of the root channel: root in an unmodified image that has no root login.
 *
 * Whoever runs a virtual machine owns it; this uses a door that systemd has for exactly that: QEMU passes the system
 * credential `tmpfiles.extra` (https://systemd.io/CREDENTIALS/) in an SMBIOS string, and systemd-tmpfiles writes what it
 * says below /run: an agent, its unit, and a udev rule that starts the unit when a virtio port of our name is plugged in.
 * Nothing is written to the disk, and nothing of it exists on a machine whose hypervisor doesn't ask for it.
 *
 * Limits: systemd ≥ 252 (Debian 12 and later, Ubuntu 24.04 and later); it answers only after systemd-tmpfiles-setup and
 * udev ran, so what happens before can only be watched on the console; the guest must have virtio-serial; an image that
 * turns those services off can't be entered so. systemd 256's `systemd.extra-unit` would be shorter, but Debian 12 and
 * Ubuntu 24.04 lack it.
 */

/** Name of the virtio port. */
export const PORT = 'lab.root';

/**
 * Reads `id seconds command input` (the last two in base64, `-` for nothing), one a line, and answers
 * `id exit-code stdout stderr`. One command at a time.
 */
const AGENT = `
exec 3<>"$1" || exit 1
umask 077
cd /run/lab-root || exit 1
read -r boot </proc/sys/kernel/random/boot_id
printf 'ready %s\\n' "$boot" >&3
while read -r id seconds command input <&3; do
  printf %s "$command" | base64 -d >command
  if [ "$input" = - ]; then : >input; else printf %s "$input" | base64 -d >input; fi
  (cd / && umask 022 && exec 3>&- && exec timeout -k 2 "$seconds" sh /run/lab-root/command) <input >out 2>err
  code=$?
  { printf '%s %s ' "$id" "$code"; base64 -w0 <out; printf ' '; base64 -w0 <err; echo; } >answer
  cat answer >&3
done
`;

/** Bound to its device, so that pulling the port out ends it. */
const UNIT = `
[Unit]
Description=Root channel of the test lab
BindsTo=dev-%i.device
After=dev-%i.device
StartLimitIntervalSec=0
IgnoreOnIsolate=yes
[Service]
ExecStart=/bin/sh /run/lab-root/agent /dev/%i
Restart=always
RestartSec=1
KillMode=process
`;

const RULE = `ACTION=="add", SUBSYSTEM=="virtio-ports", ATTR{name}=="${PORT}", TAG+="systemd", ENV{SYSTEMD_WANTS}+="lab-root@%k.service"\n`;

/** QEMU's flags that hand the agent to the guest. */
export function agentArgs(): string[] {
  const files = {
    '/run/lab-root/agent': AGENT,
    '/run/systemd/system/lab-root@.service': UNIT,
    '/run/udev/rules.d/70-lab-root.rules': RULE,
  };
  const lines = [
    'd /run/lab-root 0700 root root -',
    'd /run/systemd/system 0755 root root -',
    'd /run/udev/rules.d 0755 root root -',
    // `~`: the content is base64.
    ...Object.entries(files).map(([path, text]) => `f+~ ${path} 0644 root root - ${encode(text)}`),
  ];
  const credential = `io.systemd.credential.binary:tmpfiles.extra=${encode(`${lines.join('\n')}\n`)}`;
  return ['-smbios', `type=11,value=${credential}`];
}

const encode = (text: string): string => Buffer.from(text).toString('base64');
