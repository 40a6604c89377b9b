import test from 'ava';
import { type Lab, openLab } from '../../src/verify/lab/lab.ts';
import { scanPorts } from '../../src/verify/lab/scan.ts';
import type { Vm } from '../../src/verify/lab/vm.ts';
import { userData } from '../image.ts';
import { DISK, LIMITS, READY } from '../vm/machine.ts';

// Containers show the same at every `make test` (test/container/user-data.test.ts); here by the real boot.

let lab: Lab;
let boxes: Vm[];
test.after.always(() => lab?.close());

const TOKEN = 'a-token-that-must-not-be-shown-0123456789abcdef';

const bad: [string, string, RegExp][] = [
  ['an unknown member', userData({ token: TOKEN, extra: true }), /clawdy: closed: .*launch\.json/],
  ['user-data that wants to run something', '#!/bin/sh\ntouch /var/lib/pwned\n', /clawdy: closed: .*user-data/],
];

test.before(async () => {
  lab = await openLab();
  boxes = await Promise.all(
    bad.map(([, data], index) => lab.bootVm({ disk: DISK, name: `bad${index}`, userData: data })),
  );
});

for (const [index, [name, , reason]] of bad.entries()) {
  test.serial(`${name} leaves the box closed, with the reason on the console`, async (t) => {
    const vm = boxes[index] as Vm;
    await vm.waitForConsole(reason, LIMITS.ready);
    // Long enough for whatever might still open it: the boot has come to its end.
    await vm.waitForConsole(/login: /, LIMITS.ready);
    t.notRegex(vm.console(), READY);
    t.false(vm.console().includes(TOKEN));
    t.deepEqual(await scanPorts(lab.peer('attacker'), vm.addresses.v4), []);
    t.deepEqual(await scanPorts(lab.peer('attacker'), vm.addresses.v6), []);
    t.not((await vm.exec('test -e /var/lib/pwned')).exitCode, 0);
    // The scanner does find what is open on this very box once the firewall is off.
    await vm.exec(
      'ufw --force disable; nft flush ruleset; python3 -m http.server --bind :: 4242 >/dev/null 2>&1 & sleep 3',
    );
    t.deepEqual(await scanPorts(lab.peer('attacker'), vm.addresses.v4), [4242]);
    await vm.close();
  });
}
