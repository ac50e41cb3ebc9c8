// @medplum/core: its MedplumClient against a server that is not Medplum.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, test } from 'node:test';
import { token, url } from './server.mjs';

// Extended by the library when it is loaded; Node 20 has none, and nothing here opens one.
globalThis.WebSocket ??= class WebSocket extends EventTarget {};
const { MedplumClient } = await import('@medplum/core');

let client;
before(async () => {
  client = new MedplumClient({ baseUrl: `${url}/`, fhirUrlPath: 'fhir/R4/', fetch, cacheTime: 0 });
  client.setAccessToken(await token());
});

test('resources are created, found, changed and deleted', async () => {
  const family = `Plum${randomUUID().slice(0, 8)}`;
  const created = await client.createResource({ resourceType: 'Patient', name: [{ family }], birthDate: '1984-05-06' });
  const found = await client.searchResources('Patient', { family });
  assert.deepEqual(found.map((p) => p.id), [created.id]);

  const updated = await client.updateResource({ ...found[0], active: true });
  assert.equal(updated.meta.versionId, '2');
  const patched = await client.patchResource('Patient', created.id, [{ op: 'replace', path: '/active', value: false }]);
  assert.equal(patched.active, false);
  assert.equal((await client.readHistory('Patient', created.id)).entry.length, 3);
  assert.equal((await client.readVersion('Patient', created.id, '1')).active, undefined);

  await client.deleteResource('Patient', created.id);
  await assert.rejects(client.readResource('Patient', created.id), (error) => error.outcome.issue[0].code === 'deleted');
});

test('creates and upserts by condition', async () => {
  const value = randomUUID();
  const query = `identifier=https://clinic.example/mrn|${value}`;
  const resource = { resourceType: 'Patient', identifier: [{ system: 'https://clinic.example/mrn', value }] };
  const first = await client.createResourceIfNoneExist(resource, query);
  const second = await client.createResourceIfNoneExist(resource, query);
  assert.equal(second.id, first.id);
  const upserted = await client.upsertResource({ ...resource, active: true }, query);
  assert.deepEqual([upserted.id, upserted.active], [first.id, true]);
});

test('batches run in one request', async () => {
  const answer = await client.executeBatch({
    resourceType: 'Bundle',
    type: 'batch',
    entry: [
      { request: { method: 'GET', url: 'Patient?_count=1' } },
      { request: { method: 'GET', url: 'Observation?_count=1&_summary=count' } },
    ],
  });
  assert.deepEqual(answer.entry.map((e) => e.resource.type), ['searchset', 'searchset']);
});

test('value sets expand and patients come with everything', async () => {
  const expanded = await client.valueSetExpand({ url: 'http://hl7.org/fhir/ValueSet/administrative-gender', filter: 'fem' });
  assert.deepEqual(expanded.expansion.contains.map((c) => c.code), ['female']);
  const patient = await client.createResource({ resourceType: 'Patient' });
  const everything = await client.readPatientEverything(patient.id);
  assert.equal(everything.entry[0].resource.id, patient.id);
});

test('a refused resource comes back as an outcome', async () => {
  await assert.rejects(client.createResource({ resourceType: 'Observation', status: 'final' }), (error) => {
    assert.match(JSON.stringify(error.outcome), /Observation\.code/);
    return true;
  });
});
