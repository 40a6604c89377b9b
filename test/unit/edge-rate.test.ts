import test from 'ava';
import { Rate } from '../../layers/06-cloudflare/edge/core/rate.ts';
import { ENROL_RATE } from '../../src/contract/edge-enrolment.ts';
import { memoryEdge } from './edge-fixture.ts';

test('an address has so many tries in a window, an IPv6 network as many as one address', (t) => {
  const rate = new Rate({ tries: 2, seconds: 60 });
  const take = (address: string, now = 0) => rate.take(address, now);
  t.deepEqual([take('192.0.2.1'), take('192.0.2.1'), take('192.0.2.1')], [true, true, false]);
  t.true(take('192.0.2.2'));
  t.deepEqual(
    [take('2001:db8:0:1::5'), take('2001:db8:0:1:ffff::9'), take('2001:db8::1:0:0:0:7')],
    [true, true, false],
  );
  t.true(take('2001:db8:0:2::5'));
  t.deepEqual([take('::ffff:192.0.2.9'), take('::ffff:192.0.2.10')], [true, true], 'IPv4 as Node says it');
  t.false(take('192.0.2.1', 59.9));
  t.true(take('192.0.2.1', 60));
});

test('no number of strangers fills the memory, and whoever was there before stays', (t) => {
  const rate = new Rate({ tries: 2, seconds: 60 });
  t.true(rate.take('192.0.2.1', 0));
  let taken = 0;
  for (let number = 0; number < 10_000; number++) if (rate.take(`10.0.${number >> 8}.${number & 255}`, 1)) taken++;
  t.is(taken, 4095);
  t.true(rate.take('192.0.2.1', 2));
});

test('an IPv6 site has as many tries as eight networks, however many it has', (t) => {
  const rate = new Rate({ tries: 2, seconds: 60 });
  let taken = 0;
  for (let number = 0; number < 5000; number++) if (rate.take(`2001:db8:7:${number.toString(16)}::1`, 1)) taken++;
  t.is(taken, 16);
  t.true(rate.take('2001:db8:8::1', 1), 'another site');
  t.true(rate.take('192.0.2.1', 1), 'and there is room for others');
});

test('one address’ tries to enrol don’t use up another’s', async (t) => {
  const edge = await memoryEdge();
  const status = async (visitor: string) => {
    const init = { method: 'POST', body: '{}' };
    return (await edge.handle('https://auth.clawdy.test/.clawdy/enrol', init, visitor)).status;
  };
  for (let tries = 0; tries < ENROL_RATE.tries; tries++) t.is(await status('192.0.2.1'), 400);
  t.is(await status('192.0.2.1'), 429);
  t.is(await status('192.0.2.2'), 400);
});
