// One door to the server: every request of every screen goes through `request`.

/** One field the server refused; `field` is a JSON pointer such as `/birth_date`. */
export interface FieldProblem {
  field: string;
  code: string;
  text?: string;
}

interface ProblemBody {
  status?: number;
  code?: string;
  title?: string;
  detail?: string;
  request_id?: string;
  errors?: FieldProblem[];
  details?: Record<string, unknown>;
  retry_after_s?: number;
  attempts_left?: number;
}

/** A request that did not succeed. `code` is stable and has a text `error.<code>` in each language. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | undefined;
  readonly fields: FieldProblem[];
  readonly details: Record<string, unknown>;

  constructor(status: number, body: ProblemBody = {}, requestId?: string) {
    const code = body.code ?? codeOfStatus(status);
    super(body.detail ?? body.title ?? code);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.requestId = body.request_id ?? requestId;
    this.fields = body.errors ?? [];
    const loose: Record<string, unknown> = {};
    if (body.retry_after_s !== undefined) loose.retry_after_s = body.retry_after_s;
    if (body.attempts_left !== undefined) loose.attempts_left = body.attempts_left;
    this.details = { ...loose, ...body.details };
  }

  /** True when the request never reached the server. */
  get offline(): boolean {
    return this.status === 0;
  }
  get denied(): boolean {
    return this.status === 403;
  }
  get missing(): boolean {
    return this.status === 404 || this.status === 410;
  }
}

/** The code used when a reply carries none (a proxy's page, a dropped line). */
export function codeOfStatus(status: number): string {
  switch (status) {
    case 0:
      return 'offline';
    case 400:
    case 422:
      return 'invalid';
    case 401:
      return 'unauthenticated';
    case 403:
      return 'denied';
    case 404:
      return 'not-found';
    case 409:
      return 'conflict';
    case 410:
      return 'gone';
    case 412:
      return 'version-conflict';
    case 413:
      return 'too-large';
    case 429:
      return 'throttled';
    case 502:
    case 503:
    case 504:
      return 'busy';
    default:
      return 'internal';
  }
}

export type QueryValue = string | number | boolean | null | undefined;
export interface RequestOptions {
  query?: Record<string, QueryValue>;
  body?: unknown;
  /** One key per intent of the user: the server answers a repeat with the first reply. */
  idempotencyKey?: string;
  /** Version the change was made from; the server refuses (412) when it is no longer current. */
  ifVersion?: number;
  signal?: AbortSignal;
  /** Sign-in itself must not open the sign-in dialog. */
  anonymous?: boolean;
  language?: string;
}

/** Code of a request that was not repeated because the person did not want to show herself again. */
export const STEP_UP_CANCELLED = 'step-up-cancelled';

const ROOT = '/api/v1/';
/** A request that takes longer than this is given up and can be retried. */
const TIMEOUT_MS = 30_000;

type Fetch = (input: string, init: RequestInit) => Promise<Response>;
/** Called on 401. Resolves true when somebody signed in again and the request may be repeated. */
type Reauthenticate = () => Promise<boolean>;
/** What a sensitive act asks for: one of these factors, shown within so many minutes. */
export interface StepUpNeed {
  factors: string[];
  minutes: number;
}

interface Hooks {
  reauthenticate: Reauthenticate;
  language: () => string;
  /** Called on 403 `step-up-needed`. Resolves true when the person showed herself and the request may be repeated. */
  stepUp?: (need: StepUpNeed) => Promise<boolean>;
  /** Called when the server wants something done before anything else: the code of the refusal. */
  due?: (code: string) => void;
}

let hooks: Partial<Hooks> = {};
/** Refusals that are the same for every route until the person has done something else. */
const DUE = ['password-change-needed', 'second-factor-needed'];

/** Tells the client how to ask for a new sign-in or a step-up and which language server-made texts should have. */
export function configureClient(options: Hooks): void {
  hooks = options;
}

export function addressOf(path: string, query?: Record<string, QueryValue>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return ROOT + path + (text ? `?${text}` : '');
}

/**
 * Sends one request and returns the parsed body (`undefined` for 204). When the session ended or the act needs that the
 * person shows herself again, she is asked, and the request is repeated once.
 * Throws [ApiError]; status 0 means that the server was not reached.
 */
export async function request<T>(
  method: string,
  path: string,
  options: RequestOptions = {},
  send: Fetch = (input, init) => fetch(input, init)
): Promise<T> {
  let [signedIn, steppedUp] = [false, false];
  for (;;) {
    try {
      return await once<T>(method, path, options, send);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401 && !options.anonymous && !signedIn && hooks.reauthenticate) {
        signedIn = true;
        if (!(await hooks.reauthenticate())) throw error;
      } else if (error.code === 'step-up-needed' && !steppedUp && hooks.stepUp) {
        steppedUp = true;
        const { factors, minutes } = error.details as unknown as StepUpNeed;
        if (!Array.isArray(factors) || factors.length === 0) throw error;
        if (!(await hooks.stepUp({ factors, minutes }))) throw new ApiError(403, { code: STEP_UP_CANCELLED }, error.requestId);
      } else {
        if (error.status === 403 && DUE.includes(error.code)) hooks.due?.(error.code);
        throw error;
      }
    }
  }
}

async function once<T>(method: string, path: string, options: RequestOptions, send: Fetch): Promise<T> {
  const headers: Record<string, string> = {
    Accept: 'application/json, application/problem+json',
    'Accept-Language': options.language ?? hooks.language?.() ?? 'en'
  };
  if (options.body !== undefined) headers['Content-Type'] = 'application/json';
  if (options.idempotencyKey) headers['Idempotency-Key'] = options.idempotencyKey;
  if (options.ifVersion !== undefined) headers['If-Match'] = `W/"${options.ifVersion}"`;
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  let response: Response;
  try {
    response = await send(addressOf(path, options.query), {
      method,
      headers,
      credentials: 'same-origin',
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, { code: timeout.aborted ? 'timeout' : 'offline' });
  }
  const requestId = response.headers.get('x-request-id') ?? undefined;
  if (!response.ok) throw new ApiError(response.status, await problemOf(response), requestId);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  if (text === '') return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    // A captive portal answers 200 with its own page.
    throw new ApiError(0, { code: 'offline' }, requestId);
  }
}

async function problemOf(response: Response): Promise<ProblemBody> {
  const body: ProblemBody = await response.json().catch(() => ({}));
  const retry = Number(response.headers.get('retry-after'));
  if (retry > 0 && body.retry_after_s === undefined) body.retry_after_s = retry;
  return body && typeof body === 'object' ? body : {};
}

export const api = {
  get: <T>(path: string, query?: Record<string, QueryValue>, signal?: AbortSignal) =>
    request<T>('GET', path, { query, signal }),
  /** For lists that are looked for by name: what is typed stands in no address, which proxies keep. */
  search: <T>(path: string, body: Record<string, QueryValue>, signal?: AbortSignal) =>
    request<T>('POST', `${path}/search`, { body, signal }),
  post: <T>(path: string, body?: unknown, options: RequestOptions = {}) =>
    request<T>('POST', path, { ...options, body: body ?? {} }),
  put: <T>(path: string, body: unknown, options: RequestOptions = {}) =>
    request<T>('PUT', path, { ...options, body }),
  patch: <T>(path: string, body: unknown, options: RequestOptions = {}) =>
    request<T>('PATCH', path, { ...options, body }),
  delete: <T = void>(path: string, options: RequestOptions = {}) => request<T>('DELETE', path, options)
};
