import test from 'ava';
import { networkIn } from '../../src/clouds/cidr.ts';
import { BuildError } from '../../src/process/errors.ts';

test('a network has one form, whatever form it was said in', (t) => {
  for (const [said, form] of [
    ['198.51.100.77/24', '198.51.100.0/24'],
    ['100.68.0.18/18', '100.68.0.0/18'],
    ['203.0.113.255/32', '203.0.113.255/32'],
    ['255.255.255.255/0', '0.0.0.0/0'],
    ['255.255.255.255/1', '128.0.0.0/1'],
    ['2001:DB8:0:0::1/33', '2001:db8::/33'],
    ['2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/47', '2001:db8:fffe::/47'],
    ['::1/128', '::1/128'],
    ['::/0', '::/0'],
    ['::ffff:192.0.2.1/128', '::ffff:c000:201/128'],
    ['1:0:0:2:0:0:0:3/128', '1:0:0:2::3/128'],
  ] as const) {
    const network = networkIn(said, 'test');
    t.deepEqual(network, { family: said.includes(':') ? 6 : 4, cidr: form }, said);
    t.deepEqual(networkIn(form, 'test'), network, 'twice is the same as once');
  }
});

test('what is no network is refused', (t) => {
  for (const text of [
    '',
    '192.0.2.1',
    '192.0.2.0/33',
    '192.0.2.0/',
    '192.0.2/24',
    '::/129',
    'fe80::1%lo/64',
    'a/8',
    '1.2.3.4/8 ',
  ])
    t.throws(() => networkIn(text, 'test'), { instanceOf: BuildError, message: /no network/ }, text);
});
