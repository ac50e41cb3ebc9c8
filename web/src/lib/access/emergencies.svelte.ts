import { api, ApiError } from '$lib/api/client';
import type { Page } from '$lib/api/types';
import { session } from '$lib/session.svelte';
import { clock } from '$lib/ui/clock.svelte';
import type { Emergency } from './types';

/** Emergency accesses of the signed-in person that run at the moment. */
class Emergencies {
  #all = $state.raw<Emergency[]>([]);

  async load(): Promise<void> {
    if (!session.has('doctor', 'nurse')) return;
    try {
      this.#all = (await api.get<Page<Emergency>>('emergency-access')).items;
    } catch (error) {
      // The bar is a reminder; what it could not learn the next page asks again.
      if (!(error instanceof ApiError)) throw error;
    }
  }
  get running(): Emergency[] {
    return this.#all.filter((one) => !one.ended_at && new Date(one.until) > clock.now);
  }
  of(patientId: string): Emergency | undefined {
    return this.running.find((one) => one.patient_id === patientId);
  }
  begun(one: Emergency): void {
    this.#all = [...this.#all.filter((other) => other.id !== one.id), one];
  }
  async end(id: string): Promise<void> {
    await api.post(`emergency-access/${id}/end`);
    this.#all = this.#all.filter((one) => one.id !== id);
  }
}

export const emergencies = new Emergencies();
