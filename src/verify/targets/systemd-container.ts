/**
 * How systemd boots in a container without `--privileged`, which needs capabilities that some hosts withhold.
 * Doctor tries exactly this.
 */
export const SYSTEMD_CONTAINER = {
  capabilities: ['SYS_ADMIN', 'NET_ADMIN', 'NET_RAW', 'SYS_PTRACE'],
  securityOptions: ['seccomp=unconfined', 'apparmor=unconfined'],
  tmpfs: ['/run', '/run/lock', '/tmp'],
  // systemd 256 and later refuse cgroups v1 unless told; read as a kernel command line, ignored elsewhere.
  environment: { SYSTEMD_PROC_CMDLINE: 'SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1' },
  command: ['/sbin/init'],
} as const;
