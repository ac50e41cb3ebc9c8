import { ApiError } from '$lib/api/client';
import { problemText } from '$lib/api/problem';

/** Quiet time after the last keystroke before a save. */
const PAUSE_MS = 1_000;
/** Wait before a save that failed for lack of a connection is tried again. */
const RETRY_MS = 5_000;

export type SaveState = 'clean' | 'dirty' | 'saving' | 'saved' | 'failed' | 'conflict' | 'closed';

/**
 * Saves a draft while somebody writes: one save at a time, the newest content last. A conflict stops it until
 * the writer has decided; nothing typed is ever thrown away.
 */
export class Autosave<T> {
  state = $state<SaveState>('clean');
  savedAt = $state.raw<Date>();
  problem = $state<string>();
  #save: (content: T) => Promise<void>;
  #content: T | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: Promise<void> | undefined;

  constructor(save: (content: T) => Promise<void>) {
    this.#save = save;
  }
  get pending(): boolean {
    return ['dirty', 'saving', 'failed', 'conflict'].includes(this.state);
  }
  /** Takes changed content; it is saved soon. */
  change(content: T): void {
    if (this.state === 'closed') return;
    this.#content = content;
    if (this.state === 'conflict') return;
    if (this.state !== 'saving') this.state = 'dirty';
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.flush(), PAUSE_MS);
  }
  /** Saves now what is not saved; true when everything is. */
  async flush(): Promise<boolean> {
    clearTimeout(this.#timer);
    await this.#running;
    if (this.#content === undefined || this.state === 'conflict' || this.state === 'closed') return !this.pending;
    this.#running = this.#run();
    await this.#running;
    this.#running = undefined;
    return !this.pending;
  }
  /** After a conflict: goes on with what is here. */
  async keep(content: T): Promise<boolean> {
    this.state = 'dirty';
    this.#content = content;
    return this.flush();
  }
  /** After a conflict, or when another copy was taken over: nothing of here is left to save. */
  drop(): void {
    clearTimeout(this.#timer);
    this.#content = undefined;
    this.state = 'clean';
    this.problem = undefined;
  }
  /** Signed: no more saves. */
  close(): void {
    clearTimeout(this.#timer);
    this.#content = undefined;
    this.state = 'closed';
  }
  async #run(): Promise<void> {
    const content = this.#content as T;
    this.#content = undefined;
    this.state = 'saving';
    try {
      await this.#save(content);
      this.savedAt = new Date();
      this.problem = undefined;
      this.state = this.#content === undefined ? 'saved' : 'dirty';
    } catch (error) {
      this.#content ??= content;
      this.problem = problemText(error);
      if (error instanceof ApiError && error.code === 'version-conflict') this.state = 'conflict';
      else {
        this.state = 'failed';
        const again = !(error instanceof ApiError) || error.offline || error.status >= 500 || error.status === 429;
        if (again) this.#timer = setTimeout(() => void this.flush(), RETRY_MS);
      }
    }
  }
}
