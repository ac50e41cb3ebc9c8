// Passkeys in the browser. The server speaks the JSON forms of WebAuthn level 3; browsers without their own
// translation get the one below.
import { ApiError } from '$lib/api/client';

/** What the server answers to whoever wants to use or make a passkey. */
export interface PasskeyOptions {
  options: Record<string, unknown>;
  ceremony_id?: string | null;
}

type Json = Record<string, unknown>;
interface Translating {
  parseRequestOptionsFromJSON?: (json: Json) => PublicKeyCredentialRequestOptions;
  parseCreationOptionsFromJSON?: (json: Json) => PublicKeyCredentialCreationOptions;
  isConditionalMediationAvailable?: () => Promise<boolean>;
}

/** Whether this browser has passkeys here: they need HTTPS or localhost. */
export function passkeysWork(): boolean {
  return typeof PublicKeyCredential !== 'undefined' && typeof navigator.credentials?.get === 'function';
}

/** Whether a passkey can be offered among the names a browser fills in. */
export async function autofillWorks(): Promise<boolean> {
  if (!passkeysWork()) return false;
  const ask = (PublicKeyCredential as unknown as Translating).isConditionalMediationAvailable;
  return ask ? ask.call(PublicKeyCredential).catch(() => false) : false;
}

/** Lets the person show a passkey. Throws [ApiError] `passkey-cancelled`, `passkey-failed`; `AbortError` by `signal`. */
export async function showPasskey(from: PasskeyOptions, autofill?: AbortSignal): Promise<Json> {
  const publicKey = requestOptions(inner(from));
  const credential = await ceremony(() =>
    navigator.credentials.get({ publicKey, ...(autofill ? { mediation: 'conditional', signal: autofill } : {}) })
  );
  return toJson(credential);
}

/** Lets the device make a passkey. Throws [ApiError] `passkey-known`, `passkey-cancelled`, `passkey-failed`. */
export async function makePasskey(from: PasskeyOptions): Promise<Json> {
  const publicKey = creationOptions(inner(from));
  return toJson(await ceremony(() => navigator.credentials.create({ publicKey })));
}

async function ceremony(run: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  try {
    const credential = await run();
    if (credential) return credential as PublicKeyCredential;
  } catch (error) {
    const name = (error as Error).name;
    if (name === 'AbortError') throw error;
    if (name === 'InvalidStateError') throw new ApiError(409, { code: 'passkey-known' });
    if (name !== 'NotAllowedError') throw new ApiError(422, { code: 'passkey-failed' });
  }
  throw new ApiError(422, { code: 'passkey-cancelled' });
}

const inner = (from: PasskeyOptions): Json => (from.options.publicKey ?? from.options) as Json;

function requestOptions(json: Json): PublicKeyCredentialRequestOptions {
  const native = (PublicKeyCredential as unknown as Translating).parseRequestOptionsFromJSON;
  return native ? native.call(PublicKeyCredential, json) : readRequestOptions(json);
}
function creationOptions(json: Json): PublicKeyCredentialCreationOptions {
  const native = (PublicKeyCredential as unknown as Translating).parseCreationOptionsFromJSON;
  return native ? native.call(PublicKeyCredential, json) : readCreationOptions(json);
}

/** As `parseRequestOptionsFromJSON` of WebAuthn level 3. */
export function readRequestOptions(json: Json): PublicKeyCredentialRequestOptions {
  return {
    ...(json as unknown as PublicKeyCredentialRequestOptions),
    challenge: bytes(json.challenge),
    ...(json.allowCredentials ? { allowCredentials: descriptors(json.allowCredentials) } : {})
  };
}
/** As `parseCreationOptionsFromJSON` of WebAuthn level 3. */
export function readCreationOptions(json: Json): PublicKeyCredentialCreationOptions {
  const user = json.user as Json;
  return {
    ...(json as unknown as PublicKeyCredentialCreationOptions),
    challenge: bytes(json.challenge),
    user: { ...(user as unknown as PublicKeyCredentialUserEntity), id: bytes(user.id) },
    ...(json.excludeCredentials ? { excludeCredentials: descriptors(json.excludeCredentials) } : {})
  };
}
const descriptors = (list: unknown): PublicKeyCredentialDescriptor[] =>
  (list as Json[]).map((one) => ({ ...(one as unknown as PublicKeyCredentialDescriptor), id: bytes(one.id) }));

function toJson(credential: PublicKeyCredential): Json {
  // Password managers that stand between may lack it, or throw.
  try {
    const native = (credential as { toJSON?: () => unknown }).toJSON?.();
    if (native) return native as Json;
  } catch {
    // Translated here instead.
  }
  return writeCredential(credential);
}

/** As `PublicKeyCredential.toJSON` of WebAuthn level 3. */
export function writeCredential(credential: PublicKeyCredential): Json {
  const response = credential.response as AuthenticatorAttestationResponse & AuthenticatorAssertionResponse;
  const parts: Json = { clientDataJSON: text(response.clientDataJSON) };
  if (response.attestationObject) {
    parts.attestationObject = text(response.attestationObject);
    parts.transports = response.getTransports?.() ?? [];
  } else {
    parts.authenticatorData = text(response.authenticatorData);
    parts.signature = text(response.signature);
    if (response.userHandle) parts.userHandle = text(response.userHandle);
  }
  return {
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    response: parts,
    clientExtensionResults: credential.getClientExtensionResults?.() ?? {},
    ...(credential.authenticatorAttachment ? { authenticatorAttachment: credential.authenticatorAttachment } : {})
  };
}

/** Base64url without padding to bytes. */
export function bytes(value: unknown): Uint8Array<ArrayBuffer> {
  const plain = atob(String(value).replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}
/** Bytes to base64url without padding. */
export function text(buffer: ArrayBuffer | ArrayBufferView): string {
  const view = ArrayBuffer.isView(buffer) ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer);
  let plain = '';
  for (const byte of view) plain += String.fromCharCode(byte);
  return btoa(plain).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
