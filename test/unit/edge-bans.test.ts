import test from 'ava';
import { networkOf } from '../../src/contract/addresses.ts';
import { bansTold, renewed } from '../../src/edge/ban-reports.ts';
import { type Ban, bannable, clauseOf, decide, type Report } from '../../src/edge/bans.ts';
import { zoneSchema } from '../../src/edge/zone.ts';

const NOW = '2026-11-29T12:00:00.000Z';
const LATER = '2026-11-29T13:00:00.000Z';
const WANTED = { allow: ['198.51.100.0/24', '2001:db8:a:1::7'], perInstance: 3, zoneWide: { owners: 3 } };
const CLOUDFLARE = ['104.16.0.0/13', '2a06:98c0::/29'];

const ban = (address: string, since = '2026-11-29T11:00:00.000Z', until = LATER): Ban => ({ address, since, until });
const report = (owner: string, bans: Ban[], hosts = [`${owner}.example.com`]): Report => ({ owner, hosts, bans });
const decided = (reports: Report[], room = 4096) => decide(reports, WANTED, CLOUDFLARE, room);

test('an instance bans on its own hosts alone, several owners together on all', (t) => {
  const evil = '203.0.113.66';
  const two = [report('ann', [ban(evil)]), report('ben', [ban(evil), ban('203.0.113.67')])];
  t.deepEqual(decided(two), {
    ...{ everywhere: [], left: 0 },
    byHost: [
      ['ann.example.com', [evil]],
      ['ben.example.com', [evil, '203.0.113.67']],
    ],
  });
  // Ten instances of one owner are one owner.
  const many = Array.from({ length: 10 }, (_, at) => report('ann', [ban(evil)], [`ann-${at}.example.com`]));
  t.deepEqual(decided(many).everywhere, []);
  const three = decided([...two, report('cleo', [ban(evil)])]);
  t.deepEqual(three.everywhere, [evil]);
  t.deepEqual(three.byHost, [['ben.example.com', ['203.0.113.67']]], 'and not on single hosts as well');
});

test('who is allowed, Cloudflare, and whatever isn’t an address of the internet is never banned, whoever says so', (t) => {
  const never = [
    ...[
      '198.51.100.9',
      '104.16.1.1',
      '10.1.2.3',
      '127.0.0.1',
      '192.168.7.7',
      '169.254.169.254',
      '224.0.0.1',
      '0.0.0.0',
    ],
    ...['2001:db8:a:1::/64', '2a06:98c0:3600::/64', '::/64', 'fd00::/64', 'fe80::/64', 'ff02::/64'],
  ];
  for (const address of never)
    t.deepEqual(decided(['a', 'b', 'c'].map((owner) => report(owner, [ban(address)]))), {
      ...{ everywhere: [], byHost: [], left: 0 },
    });
  t.deepEqual(decided([report('a', [ban('2001:db8:a:2::/64')])]).byHost, [['a.example.com', ['2001:db8:a:2::/64']]]);
});

test('one network is one, however it is written; a part of the internet is none', (t) => {
  t.deepEqual(
    [
      '203.0.113.7',
      '203.0.113.7/32',
      '2001:DB8::1',
      '2001:db8:0:0:ffff::/64',
      '2001:db8::/128',
      '::ffff:192.0.2.1',
    ].map(bannable),
    ['203.0.113.7', '203.0.113.7', '2001:db8::/64', '2001:db8::/64', '2001:db8::/64', '192.0.2.1'],
  );
  for (const wide of ['0.0.0.0/0', '203.0.113.0/24', '203.0.113.0/31', '2001:db8::/63', '::/0'])
    t.is(bannable(wide), undefined, wide);
  t.is(networkOf('not an address'), 'not an address');
});

test('an instance that tells very much has a small part, and takes nobody’s room', (t) => {
  const flood = Array.from({ length: 500 }, (_, at) =>
    ban(`203.0.113.${at % 250}`, `2026-11-29T11:${String(at % 60).padStart(2, '0')}:30.000Z`),
  );
  const flooded = decided([report('ann', flood)]);
  t.is(flooded.byHost[0]?.[1].length, 3);
  t.deepEqual(
    decided([
      report('ann', [
        ban('203.0.113.1', '2026-11-29T10:00:00.000Z'),
        ...flood.slice(0, 2),
        ban('203.0.113.99', '2026-11-29T11:59:59.000Z'),
      ]),
    ]).byHost[0]?.[1],
    ['203.0.113.0', '203.0.113.1', '203.0.113.99'].sort(),
    'the newest',
  );
  // Room for two: each host's newest, before anybody's second.
  const [one, other] = ['ann', 'ben'].map((owner) =>
    report(owner, [ban(`203.0.113.${owner.length}`), ban('203.0.113.200', '2026-11-29T10:00:00.000Z')]),
  );
  const clauses = [clauseOf('ann.example.com', ['203.0.113.3']), clauseOf('ben.example.com', ['203.0.113.3'])].join(
    ' or ',
  );
  const tight = decided([one as Report, other as Report], clauses.length + 2 * ' or '.length);
  t.deepEqual(
    tight.byHost.map(([host, addresses]) => [host, addresses.length]),
    [
      ['ann.example.com', 1],
      ['ben.example.com', 1],
    ],
  );
  t.is(tight.left, 2);
});

test('whatever fits is no longer than its room', (t) => {
  for (const room of [0, 50, 300, 1000, 4096]) {
    const reports = Array.from({ length: 40 }, (_, at) =>
      report(
        `owner-${at}`,
        [ban(`203.0.113.${at}`), ban(`2001:db8:b:${at.toString(16)}::/64`)],
        [`o${at}.example.com`, `*--o${at}.apps.example`],
      ),
    );
    const { byHost } = decided(reports, room);
    const length = byHost.map(([host, addresses]) => ` or ${clauseOf(host, addresses)}`).join('').length;
    t.true(length <= room, `${length} of ${room}`);
    t.true(room < 300 || length > room / 2);
  }
});

test('whoever is allowed is so in every form that the schema takes', (t) => {
  const allow = (...list: string[]) =>
    zoneSchema.safeParse({ version: 1, zone: 'example.com', bans: { allow: list } }).success;
  t.true(allow('198.51.100.9', '198.51.100.0/24', '2001:db8::1', '2001:db8::/32'));
  for (const odd of ['::ffff:198.51.100.9', '::198.51.100.9', '::FFFF:198.51.100.0/120', '198.51.100'])
    t.false(allow(odd), odd);
});

test('bans end, by this machine’s clock and after a week at most', (t) => {
  const told = { version: 1, nonce: '', instanceId: 'i', now: '1999-01-01T00:00:00Z', more: 0 } as const;
  const row = (until: string | null) => ({
    jail: 'sshd',
    address: '203.0.113.5',
    since: '2026-11-29T11:00:00Z',
    until,
  });
  const bans = [
    row(null),
    row('2099-01-01T00:00:00Z'),
    row('2026-11-29T13:00:00Z'),
    { ...row(null), address: '0.0.0.0/0' },
  ];
  t.deepEqual(
    bansTold({ ...told, bans }, Date.parse(NOW)).map(({ until }) => until),
    ['2026-12-06T12:00:00.000Z', '2026-12-06T12:00:00.000Z', LATER],
  );
});

test('of an instance that doesn’t answer the last bans count on, on the hosts that it has now; of one that is gone none', (t) => {
  const kept = {
    asked: '2026-11-29T11:30:00.000Z',
    reports: {
      silent: report(
        'ann',
        [ban('203.0.113.1'), ban('203.0.113.2', undefined, NOW)],
        ['ann.example.com', 'given-away.example.com'],
      ),
      told: report('ben', [ban('203.0.113.3')]),
      gone: report('cleo', [ban('203.0.113.4')]),
    },
  };
  const heard = new Map([
    ['silent', { owner: 'Ann', hosts: ['ann.example.com'], bans: undefined }],
    ['told', { owner: 'ben', hosts: ['ben.example.com'], bans: [] }],
    ['new', { owner: 'dan', hosts: ['dan.example.com'], bans: undefined }],
  ]);
  t.deepEqual(renewed(kept, heard, Date.parse(NOW)), {
    asked: NOW,
    reports: { silent: report('ann', [ban('203.0.113.1')]), told: report('ben', []), new: report('dan', []) },
  });
});
