import { untrack } from 'svelte';
import { ApiError } from './client';
import { live, type LiveEvent } from '$lib/live/live.svelte';

export interface QueryOptions {
  /** Refetches when a live frame passes this test; a `resync` always refetches. */
  on?: (event: LiveEvent) => boolean;
  /** Refetches this often while the page is visible, for states the server does not announce. */
  everyMs?: number;
}

/** Several live frames of one change cause one refetch. */
const COALESCE_MS = 120;

/**
 * What a screen shows of one read: `data` once it arrived, `error` when the last try failed, `loading`
 * while one is under way. `data` is emptied when the question changes, so that one patient's data is
 * never drawn under another's name; it is kept when the same question is asked again.
 */
export class Query<T> {
  data = $state.raw<T>();
  error = $state.raw<ApiError>();
  loading = $state(true);
  #ask: ((signal: AbortSignal) => Promise<T>) | undefined;
  #abort: AbortController | undefined;

  /** Takes a new question; called by [query]. */
  start(ask: (signal: AbortSignal) => Promise<T>, first: Promise<T>, abort: AbortController): void {
    this.#abort?.abort();
    this.#ask = ask;
    this.data = undefined;
    this.error = undefined;
    this.loading = true;
    void this.#settle(first, abort);
  }
  stop(): void {
    this.#abort?.abort();
  }
  /** Asks again and keeps what is shown until the reply is there. */
  refresh = async (): Promise<void> => {
    if (!this.#ask) return;
    this.#abort?.abort();
    const abort = new AbortController();
    this.loading = true;
    await this.#settle(
      untrack(() => this.#ask!(abort.signal)),
      abort
    );
  };
  /** Shows what a write returned without asking again. */
  put(data: T): void {
    this.#abort?.abort();
    this.data = data;
    this.error = undefined;
    this.loading = false;
  }
  async #settle(reply: Promise<T>, abort: AbortController): Promise<void> {
    this.#abort = abort;
    try {
      const data = await reply;
      if (abort.signal.aborted) return;
      this.data = data;
      this.error = undefined;
      this.loading = false;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error instanceof ApiError ? error : new ApiError(500, { detail: String(error) });
      this.loading = false;
    }
  }
}

/** A read that follows the reactive values `ask` uses. Call it while a component is being set up. */
export function query<T>(ask: (signal: AbortSignal) => Promise<T>, options: QueryOptions = {}): Query<T> {
  const result = new Query<T>();
  $effect(() => {
    const abort = new AbortController();
    // The first call runs here, tracked, so that the effect follows what `ask` reads.
    const first = ask(abort.signal);
    untrack(() => result.start(ask, first, abort));
    return () => result.stop();
  });
  $effect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(() => void result.refresh(), COALESCE_MS);
    };
    const off = options.on
      ? live.listen((event) => {
          if (event.type === 'resync' || options.on!(event)) soon();
        })
      : undefined;
    const often = options.everyMs
      ? setInterval(() => {
          if (document.visibilityState === 'visible') void result.refresh();
        }, options.everyMs)
      : undefined;
    return () => {
      clearTimeout(timer);
      clearInterval(often);
      off?.();
    };
  });
  return result;
}

/** A list read page by page; "Load more" appends, a refresh starts over. */
export class PagedQuery<T> {
  items = $state.raw<T[]>([]);
  next = $state.raw<string | null>();
  more = $state(false);
  moreError = $state.raw<ApiError>();
  readonly first: Query<{ items: T[]; next?: string | null; total?: number }>;
  #ask: (cursor: string | undefined, signal?: AbortSignal) => Promise<{ items: T[]; next?: string | null }>;

  constructor(
    ask: (cursor: string | undefined, signal?: AbortSignal) => Promise<{ items: T[]; next?: string | null }>,
    options: QueryOptions = {}
  ) {
    this.#ask = ask;
    this.first = query((signal) => ask(undefined, signal), options);
    $effect(() => {
      const page = this.first.data;
      this.items = page?.items ?? [];
      this.next = page?.next ?? null;
    });
  }
  loadMore = async (): Promise<void> => {
    if (!this.next || this.more) return;
    this.more = true;
    this.moreError = undefined;
    const at = this.next;
    try {
      const page = await this.#ask(at);
      if (this.next !== at) return;
      this.items = [...this.items, ...page.items];
      this.next = page.next ?? null;
    } catch (error) {
      if (error instanceof ApiError) this.moreError = error;
      else throw error;
    } finally {
      this.more = false;
    }
  };
}
