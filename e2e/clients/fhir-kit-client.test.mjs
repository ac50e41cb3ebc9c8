// fhir-kit-client: every interaction it knows.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, test } from 'node:test';
import { CapabilityTool, Client } from 'fhir-kit-client';
import { base, token } from './server.mjs';

let client;
before(async () => {
  client = new Client({ baseUrl: base, bearerToken: await token() });
});

const patient = (family) => ({ resourceType: 'Patient', name: [{ family, given: ['Wanjiru'] }], gender: 'female' });
const family = () => `Kit${randomUUID().slice(0, 8)}`;

test('create, read, vread, update, patch, history and delete', async () => {
  const created = await client.create({ resourceType: 'Patient', body: patient(family()) });
  const id = created.id;
  assert.equal(Client.httpFor(created).response.status, 201);
  assert.equal((await client.read({ resourceType: 'Patient', id })).gender, 'female');

  await client.update({ resourceType: 'Patient', id, body: { ...created, active: true } });
  await client.patch({
    resourceType: 'Patient',
    id,
    jsonPatch: [
      { op: 'test', path: '/active', value: true },
      { op: 'replace', path: '/active', value: false },
      { op: 'add', path: '/name/-', value: { use: 'nickname', text: 'Shiru' } },
    ],
  });
  const now = await client.read({ resourceType: 'Patient', id });
  assert.deepEqual([now.active, now.name.length, now.meta.versionId], [false, 2, '3']);
  assert.equal((await client.vread({ resourceType: 'Patient', id, version: '1' })).active, undefined);

  const history = await client.history({ resourceType: 'Patient', id });
  assert.deepEqual(history.entry.map((e) => e.resource.meta.versionId), ['3', '2', '1']);
  assert.equal((await client.history({ resourceType: 'Patient' })).type, 'history');
  assert.equal((await client.history()).type, 'history');

  await client.delete({ resourceType: 'Patient', id });
  await assert.rejects(client.read({ resourceType: 'Patient', id }), (error) => error.response.status === 410);
});

test('a failed test of a patch changes nothing', async () => {
  const { id } = await client.create({ resourceType: 'Patient', body: patient(family()) });
  const jsonPatch = [
    { op: 'replace', path: '/gender', value: 'male' },
    { op: 'test', path: '/active', value: true },
  ];
  await assert.rejects(client.patch({ resourceType: 'Patient', id, jsonPatch }), (error) => {
    assert.ok([400, 409, 412, 422].includes(error.response.status), `${error.response.status}`);
    assert.equal(error.response.data.resourceType, 'OperationOutcome');
    return true;
  });
  assert.equal((await client.read({ resourceType: 'Patient', id })).gender, 'female');
});

test('searches by GET and POST, over compartments and the whole system', async () => {
  const name = family();
  const { id } = await client.create({ resourceType: 'Patient', body: patient(name) });
  const body = { resourceType: 'Observation', status: 'final', code: { text: 'pulse' }, subject: { reference: `Patient/${id}` } };
  const observation = await client.create({ resourceType: 'Observation', body });
  const ids = (bundle) => bundle.entry.map((e) => e.resource.id);

  const found = await client.search({ resourceType: 'Patient', searchParams: { family: name } });
  assert.deepEqual(ids(found), [id]);
  const posted = await client.search({ resourceType: 'Patient', searchParams: { family: name }, options: { postSearch: true } });
  assert.deepEqual(ids(posted), [id]);
  const compartment = { resourceType: 'Patient', id };
  assert.deepEqual(ids(await client.search({ resourceType: 'Observation', compartment })), [observation.id]);
  const both = await client.search({ searchParams: { _type: 'Patient,Observation', _id: `${id},${observation.id}` } });
  assert.deepEqual(ids(both).sort(), [id, observation.id].sort());
});

test('pages forward over every patient', async () => {
  let page = await client.search({ resourceType: 'Patient', searchParams: { _count: '7' } });
  const seen = new Set();
  while (page) {
    for (const entry of page.entry ?? []) {
      assert.ok(!seen.has(entry.resource.id));
      seen.add(entry.resource.id);
    }
    page = await client.nextPage({ bundle: page });
  }
  assert.ok(seen.size > 7);
});

test('batches answer each entry, transactions all or none', async () => {
  const entries = [
    { request: { method: 'POST', url: 'Patient' }, resource: patient(family()) },
    { request: { method: 'GET', url: 'Patient/there-is-no-such-patient' } },
  ];
  const batch = await client.batch({ body: { resourceType: 'Bundle', type: 'batch', entry: entries } });
  assert.deepEqual(batch.entry.map((e) => e.response.status.slice(0, 3)), ['201', '404']);

  const name = family();
  const broken = [
    { request: { method: 'POST', url: 'Patient' }, resource: patient(name) },
    { request: { method: 'POST', url: 'Patient' }, resource: { resourceType: 'Patient', birthDate: 'yesterday' } },
  ];
  await assert.rejects(client.transaction({ body: { resourceType: 'Bundle', type: 'transaction', entry: broken } }));
  const left = await client.search({ resourceType: 'Patient', searchParams: { family: name } });
  assert.equal(left.entry, undefined);
});

test('operations', async () => {
  const { id } = await client.create({ resourceType: 'Patient', body: patient(family()) });
  const everything = await client.operation({ name: 'everything', resourceType: 'Patient', id, method: 'GET' });
  assert.equal(everything.entry[0].resource.id, id);
  const verdict = await client.operation({
    name: 'validate',
    resourceType: 'Patient',
    input: { resourceType: 'Parameters', parameter: [{ name: 'resource', resource: { resourceType: 'Patient', gender: 'none' } }] },
  });
  assert.equal(verdict.issue[0].severity, 'error');
  const expansion = await client.operation({
    name: 'expand',
    resourceType: 'ValueSet',
    method: 'GET',
    input: { url: 'http://hl7.org/fhir/ValueSet/administrative-gender' },
  });
  assert.deepEqual(expansion.expansion.contains.map((c) => c.code).sort(), ['female', 'male', 'other', 'unknown']);
});

test('the capability statement tells a client what it may do', async () => {
  const tool = new CapabilityTool(await client.capabilityStatement());
  for (const interaction of ['read', 'vread', 'update', 'patch', 'delete', 'history-instance', 'history-type', 'create', 'search-type']) {
    assert.ok(tool.resourceCan('Patient', interaction), interaction);
  }
  assert.ok(tool.supportFor({ resourceType: 'Patient', capabilityType: 'conditionalCreate' }));
});
