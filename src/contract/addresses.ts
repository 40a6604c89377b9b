/**
 * Whose address somebody is counted and banned by: an IPv4 address, or the /64 of an IPv6 one, of which one customer has all
 * (https://www.rfc-editor.org/rfc/rfc6177). The gate and fail2ban count alike.
 * @param address IPv4 or IPv6, as a runtime says it.
 * @returns `192.0.2.1`, or `2001:db8:0:1::/64` in its shortest form (RFC 5952). What isn't an address comes back as it is.
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const whole = URL.parse(`http://[${address}]/`)?.hostname.slice(1, -1);
  if (whole === undefined) return address;
  const [head = '', tail] = whole.split('::');
  const [first, last] = [groupsOf(head), groupsOf(tail ?? '')];
  const zeros = Array<string>(Math.max(0, 8 - first.length - last.length)).fill('0');
  const groups = [...first, ...(tail === undefined ? [] : zeros), ...last];
  // IPv4 as IPv6 sockets say it (RFC 4291, 2.5.5.2).
  if (groups.slice(0, 5).every((group) => group === '0') && groups[5] === 'ffff') return ipv4Of(groups.slice(6));
  return `${new URL(`http://[${groups.slice(0, 4).join(':')}::]/`).hostname.slice(1, -1)}/64`;
}

const groupsOf = (text: string) => (text ? text.split(':') : []);

function ipv4Of(groups: string[]): string {
  const bytes = groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]);
  return bytes.join('.');
}
