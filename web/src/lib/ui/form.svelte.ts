import { tick } from 'svelte';
import { ApiError, STEP_UP_CANCELLED } from '$lib/api/client';
import { i18n } from '$lib/i18n/index.svelte';
import { fieldName, fieldText, problemText } from '$lib/api/problem';

/**
 * The state of one form: which fields are wrong, what failed, whether a send is under way.
 * A second click while sending does nothing; a repeat of the same content uses the same key, so that
 * the server answers it with its first reply instead of doing it twice.
 */
export class Form {
  errors = $state<Record<string, string>>({});
  failure = $state<string>();
  requestId = $state<string>();
  busy = $state(false);
  /** The last refusal, for screens that act on its code or details. */
  refusal = $state.raw<ApiError>();
  #key: string | undefined;
  #content: string | undefined;

  get wrong(): boolean {
    return this.failure !== undefined || Object.keys(this.errors).length > 0;
  }
  clear(): void {
    this.errors = {};
    this.failure = undefined;
    this.requestId = undefined;
    this.refusal = undefined;
  }
  /** Key of the intent to send this content. */
  keyFor(content: unknown): string {
    const text = JSON.stringify(content);
    if (this.#key === undefined || this.#content !== text) {
      this.#key = crypto.randomUUID();
      this.#content = text;
    }
    return this.#key;
  }
  /** Sends; returns undefined when it was refused (the form then shows why) or already under way. */
  async send<T>(
    content: unknown,
    send: (key: string) => Promise<T>,
    check?: () => Record<string, string | undefined>
  ): Promise<T | undefined> {
    if (this.busy) return undefined;
    this.clear();
    const found = Object.entries(check?.() ?? {}).filter((entry): entry is [string, string] => !!entry[1]);
    if (found.length > 0) {
      this.errors = Object.fromEntries(found);
      void focusSummary();
      return undefined;
    }
    this.busy = true;
    try {
      const reply = await send(this.keyFor(content));
      this.#key = undefined;
      return reply;
    } catch (error) {
      // The words for refusals may not be here yet on a first page.
      await i18n.need('errors').catch(() => undefined);
      this.#take(error);
      return undefined;
    } finally {
      this.busy = false;
    }
  }
  #take(error: unknown): void {
    if (!(error instanceof ApiError)) {
      this.failure = problemText(error);
      void focusSummary();
      throw error;
    }
    this.refusal = error;
    // Whoever closed the question has decided: there is nothing to tell.
    if (error.code === STEP_UP_CANCELLED) {
      this.#key = undefined;
      return;
    }
    // A refusal of something this form has no field for (a time chosen a page before) is told as a whole.
    const here = error.fields.some((problem) => fieldOnPage(fieldName(problem.field)));
    if (error.fields.length > 0 && (here || error.code === 'invalid')) {
      this.errors = Object.fromEntries(
        error.fields.map((problem) => [fieldName(problem.field), fieldText(problem.code, problem.text)])
      );
    } else {
      this.failure = problemText(error);
      this.requestId = error.status >= 500 ? error.requestId : undefined;
    }
    // A refusal ends the intent: what is sent next is a new one. An unanswered one may have happened.
    if (!error.offline && error.status < 500) this.#key = undefined;
    void focusSummary();
  }
}

function fieldOnPage(name: string): boolean {
  return [...document.querySelectorAll<HTMLElement>('[data-field]')].some((place) => place.dataset.field === name);
}

async function focusSummary(): Promise<void> {
  await tick();
  const open = document.querySelector('dialog[open] .error-summary') ?? document.querySelector('.error-summary');
  if (open instanceof HTMLElement) {
    open.focus();
    open.scrollIntoView({ block: 'nearest' });
  }
}
