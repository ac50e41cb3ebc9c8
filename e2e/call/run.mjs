// Runs the cases outside the test runner: all, or those whose name contains the first argument; prints the figures.
import { cases, close, measured, open, report, slow } from './cases.mjs';

const only = process.argv[2];
const chosen = Object.entries({ ...cases, ...(only ? slow : {}) }).filter(([name]) => !only || name.includes(only));
let failed = 0;
await open();
for (const [name, run] of chosen) {
  const start = Date.now();
  try {
    await run();
    console.log(`ok   ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${error.stack}\n${await report()}`);
  }
}
console.log(JSON.stringify(measured, null, 1));
await close();
process.exitCode = failed > 0 ? 1 : 0;
