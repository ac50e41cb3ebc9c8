// How the browser reaches the relay: the servers, whose credentials live minutes, and whether it must be used.

import type { IceServer, JoinGrant } from './protocol';

/** Credentials that end sooner than this are renewed before a restart. */
const SPARE_MS = 120_000;
const POLICY_KEY = 'uzima.call.ice';

/** `relay` forces every call through the relay: `?ice=relay` or `localStorage['uzima.call.ice'] = 'relay'`. */
export function policyWish(): RTCIceTransportPolicy {
  try {
    if (new URLSearchParams(location.search).get('ice') === 'relay') return 'relay';
    if (localStorage.getItem(POLICY_KEY) === 'relay') return 'relay';
  } catch {
    // No storage, no wish.
  }
  return 'all';
}

export class Relay {
  servers: IceServer[] = [];
  policy: RTCIceTransportPolicy = 'all';
  #until = 0;
  #renewing = false;
  #renew: (() => Promise<IceServer[]>) | undefined;

  constructor(renew?: () => Promise<IceServer[]>) {
    this.#renew = renew;
  }

  granted(grant: JoinGrant): void {
    this.policy = grant.ice_transport_policy === 'relay' ? 'relay' : policyWish();
    this.#take(grant.ice_servers);
  }

  /** Gets new credentials where the old ones end soon: a restart after that needs them. */
  async renew(use: (servers: IceServer[]) => void): Promise<void> {
    if (this.#renewing || !this.#renew || this.#until - Date.now() > SPARE_MS) return;
    this.#renewing = true;
    try {
      this.#take(await this.#renew());
      use(this.servers);
    } catch {
      // The next restart tries again.
    } finally {
      this.#renewing = false;
    }
  }

  #take(servers: IceServer[]): void {
    this.servers = servers;
    this.#until = endOf(servers);
  }
}

/** When the credentials end, as their user name says (`seconds:holder`); far away when it does not. */
export function endOf(servers: IceServer[]): number {
  const seconds = servers.map((server) => Number(/^(\d{9,}):/.exec(server.username ?? '')?.[1])).filter(Number.isFinite);
  return seconds.length > 0 ? Math.min(...seconds) * 1000 : Infinity;
}
