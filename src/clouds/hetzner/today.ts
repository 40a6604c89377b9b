/**
 * Gives answers of today's API the shape that hcloud-js 1.4.1 reads: `server.datacenter`, removed in July 2026
 * (https://docs.hetzner.cloud/changelog), is filled from `location`, and a server without a public address
 * gets one that is null. Nothing else is touched.
 */
export function asItWas<T>(data: T): T {
  if (typeof data !== 'object' || data === null) return data;
  const { server, servers, ...rest } = data as Record<string, unknown>;
  return {
    ...rest,
    ...(server === undefined ? {} : { server: filled(server) }),
    ...(Array.isArray(servers) ? { servers: servers.map(filled) } : servers === undefined ? {} : { servers }),
  } as T;
}

function filled(server: unknown): unknown {
  if (typeof server !== 'object' || server === null) return server;
  const { location, public_net: net, ...rest } = server as { location?: unknown; public_net?: Record<string, unknown> };
  const datacenter = { id: null, name: null, description: null, location: location ?? {}, server_types: {} };
  return {
    datacenter,
    location,
    ...rest,
    public_net: {
      ...net,
      ipv4: net?.ipv4 ?? { ip: null, dns_ptr: null, blocked: false },
      ipv6: { ip: null, blocked: false, ...(net?.ipv6 as object), dns_ptr: pointers(net?.ipv6) },
    },
  };
}

/** An empty list is `null` in some answers. */
function pointers(block: unknown): unknown[] {
  const found = (block as { dns_ptr?: unknown } | null | undefined)?.dns_ptr;
  return Array.isArray(found) ? found : [];
}
