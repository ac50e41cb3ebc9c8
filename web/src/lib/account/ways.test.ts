import { describe, expect, it } from 'vitest';
import { deviceName } from './device';
import { bytes, readCreationOptions, readRequestOptions, text, writeCredential } from './passkey';
import { plainCode, plainRecovery, waysOf } from './ways';

describe('ways', () => {
  it.each([
    [['totp'], true, ['totp', 'recovery-code']],
    [['totp', 'passkey', 'recovery-code'], true, ['passkey', 'totp', 'recovery-code']],
    [['totp', 'passkey'], false, ['totp', 'recovery-code']],
    [['passkey'], false, ['recovery-code']],
    [['password'], true, ['password']]
  ])('offers for %j with passkeys %s', (factors, passkeys, expected) => {
    expect(waysOf(factors, passkeys)).toEqual(expected);
  });
  it('sends codes as they are meant', () => {
    expect(plainCode(' 123 456 ')).toBe('123456');
    expect(plainRecovery(' ABCDE-fgh1k ')).toBe('abcde-fgh1k');
  });
});

describe('passkeys without the browser’s own translation', () => {
  const letters = Uint8Array.from({ length: 256 }, (_, at) => at);
  it('keeps every byte', () => {
    expect(bytes(text(letters))).toEqual(letters);
    expect(text(letters)).not.toMatch(/[+/=]/);
  });
  it('reads what the server asks', () => {
    const request = readRequestOptions({ challenge: 'AQID', rpId: 'clinic.example', allowCredentials: [{ type: 'public-key', id: 'BAU' }] });
    expect(request.challenge).toEqual(new Uint8Array([1, 2, 3]));
    expect(request.allowCredentials![0]!.id).toEqual(new Uint8Array([4, 5]));
    const creation = readCreationOptions({ challenge: 'AQID', user: { id: 'BgcI', name: 'a' }, excludeCredentials: [] });
    expect(creation.user.id).toEqual(new Uint8Array([6, 7, 8]));
    expect(creation.user.name).toBe('a');
  });
  it('writes what the device answered', () => {
    const answer = {
      id: 'AQID',
      rawId: new Uint8Array([1, 2, 3]).buffer,
      type: 'public-key',
      response: { clientDataJSON: new Uint8Array([1]), authenticatorData: new Uint8Array([2]), signature: new Uint8Array([3]), userHandle: null },
      getClientExtensionResults: () => ({})
    } as unknown as PublicKeyCredential;
    expect(writeCredential(answer)).toEqual({
      id: 'AQID',
      rawId: 'AQID',
      type: 'public-key',
      response: { clientDataJSON: 'AQ', authenticatorData: 'Ag', signature: 'Aw' },
      clientExtensionResults: {}
    });
  });
});

it.each([
  ['Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36', 'Chrome, Android'],
  ['Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1', 'Safari, iPhone'],
  ['Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0', 'Edge, Windows'],
  ['curl/8', '']
])('names %s', (agent, name) => expect(deviceName(agent)).toBe(name));
