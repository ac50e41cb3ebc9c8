import { ApiError, configureClient, request } from '$lib/api/client';
import type { Me, Role, Session } from '$lib/api/types';
import { setZone } from '$lib/format/zone';
import { i18n, isLocale } from '$lib/i18n/index.svelte';

/** Who is signed in. `me` is undefined until the server has answered, null when nobody is. */
class SessionState {
  me = $state.raw<Me | null>();
  /** Why `me` could not be read (no connection). */
  error = $state.raw<ApiError>();
  /** True while the sign-in dialog waits over the page. */
  expired = $state(false);
  #waiting: ((again: boolean) => void)[] = [];

  async start(): Promise<void> {
    this.error = undefined;
    try {
      await this.adopt(await request<Me>('GET', 'me', { anonymous: true }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401) this.me = null;
      else this.error = error;
    }
  }
  async adopt(me: Me): Promise<void> {
    setZone(me.timezone);
    if (!i18n.chosen && isLocale(me.language)) await i18n.use(me.language, false);
    this.me = me;
    this.error = undefined;
  }
  async signIn(login: string, password: string): Promise<Me> {
    const session = await request<Session>('POST', 'auth/login', { body: { login, password }, anonymous: true });
    await this.adopt(session.user);
    return session.user;
  }
  async signOut(): Promise<void> {
    try {
      await request('POST', 'auth/logout', { body: {}, anonymous: true });
    } finally {
      // A full load, so that nothing of this person stays in memory on a shared device.
      location.replace('/sign-in');
    }
  }
  /** Opens the sign-in dialog; resolves when somebody signed in or gave up. */
  ask(): Promise<boolean> {
    if (!this.me) return Promise.resolve(false);
    this.expired = true;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
  answer(again: boolean): void {
    this.expired = false;
    for (const resolve of this.#waiting.splice(0)) resolve(again);
  }
  has(...roles: Role[]): boolean {
    return roles.some((role) => this.me?.roles.includes(role));
  }
  get clinic(): Me['clinic'] | undefined {
    return this.me?.clinic;
  }
}

export const session = new SessionState();

configureClient({ reauthenticate: () => session.ask(), language: () => i18n.locale });
