import type { Component } from 'svelte';
import { api } from '$lib/api/client';
import { query } from '$lib/api/query.svelte';
import { i18n } from '$lib/i18n/index.svelte';
import { session } from '$lib/session.svelte';
import type { DataRequest, EntryStatement, Items } from './types';

/** What draws it; comes with its words only where there is something to show. */
interface Parts {
  Notes: Component<{ asked: DataRequest[]; statements: EntryStatement[]; listed: string[]; changed: () => Promise<void> }>;
  Statement: Component<{ statements: EntryStatement[]; entry: string }>;
}

async function load(): Promise<Parts> {
  const [notes, statement] = await Promise.all([
    import('./ChartNotes.svelte'),
    import('./StatementOf.svelte'),
    i18n.need('privacy', 'errors')
  ]);
  return { Notes: notes.default, Statement: statement.default };
}

/**
 * What a patient says about entries of her chart: corrections she asks for and statements that stand beside entries.
 * `patientId` gives `undefined` where nothing is to be shown. Call it while a component is being set up.
 */
export function chartNotes(patientId: () => string | undefined) {
  const list = async <T>(what: string, wanted: boolean, signal: AbortSignal): Promise<T[]> => {
    const id = patientId();
    if (!id || !wanted) return [];
    return (await api.get<Items<T>>(`privacy/patients/${id}/${what}`, undefined, signal)).items;
  };
  const statements = query((signal) => list<EntryStatement>('statements', true, signal));
  const asked = query((signal) => list<DataRequest>('corrections', session.has('doctor', 'nurse'), signal));
  let parts = $state.raw<Parts>();
  $effect(() => {
    if (!parts && (statements.data?.length || asked.data?.length)) void load().then((found) => (parts = found));
  });
  return {
    get statements() {
      return statements.data ?? [];
    },
    get asked() {
      return asked.data ?? [];
    },
    get parts() {
      return parts;
    },
    changed: () => asked.refresh()
  };
}
