// A call's mishaps, on the real hub and relay without the rest of the server; the visit itself is in visit.test.mjs.
import { after, before, test } from 'node:test';
import { cases, close, measured, open, report } from '../call/cases.mjs';

before(open);
after(close);
for (const [name, run] of Object.entries(cases)) {
  test(name, async (t) => {
    try {
      await run();
    } catch (error) {
      t.diagnostic(await report());
      throw error;
    }
    t.diagnostic(JSON.stringify(measured));
  });
}
