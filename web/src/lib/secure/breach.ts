// The question after a breach, and the pack that is handed over: what was asked, who is affected, and the evidence.
import { csvText } from '$lib/office/csv';
import type { Affected, Head } from './types';
import { zip } from './zip';

export interface BreachQuestion {
  agent?: string;
  client?: string;
  session?: string;
  address?: string;
  from: string;
  to: string;
}
/** Who somebody is, fetched for telling her. */
export interface Contact {
  name: string;
  phone: string;
  record: string;
}

/** Accesses by what was done, over all patients, most first. */
export function sums(found: Affected): { category: string; count: number }[] {
  const counts = new Map<string, number>();
  for (const patient of found.patients) {
    for (const [category, count] of Object.entries(patient.categories)) {
      counts.set(category, (counts.get(category) ?? 0) + (count as number));
    }
  }
  return [...counts]
    .map(([category, count]) => ({ category, count }))
    .sort((a, b) => b.count - a.count || a.category.localeCompare(b.category));
}

export interface Pack {
  clinic: string;
  by: string;
  at: Date;
  question: BreachQuestion;
  found: Affected;
  contacts: Map<string, Contact>;
  head?: Head | null;
  note: string;
}

/** The files of a pack. Their language is English: authorities and later readers are not this screen's reader. */
export function packFiles(pack: Pack): { name: string; text: string }[] {
  const { found, question } = pack;
  const asked = Object.entries(question)
    .filter(([, value]) => value)
    .map(([name, value]) => `  ${name}: ${value}`);
  const readme = [
    `Incident pack of ${pack.clinic}`,
    `Made ${pack.at.toISOString()} by ${pack.by}`,
    '',
    'What was asked of the audit trail:',
    ...asked,
    '',
    `${found.patients.length} patients affected, ${found.events} entries fit, ${found.refused} of them refused or failed (in no count).`,
    `${found.other_count} accesses name no patient; an export among them may concern everybody.`,
    '',
    'Files:',
    '  question.json          the question and the sums',
    '  affected-patients.csv  every patient, with number, first and last access, and what was done',
    '  other-accesses.csv     accesses that name no patient (the first thousand)',
    '  audit-head.txt         the newest signed head of the audit tree when this was made',
    '',
    'Check the head with `uzima verify --head audit-head.txt`.',
    ...(pack.note.trim() ? ['', 'Note:', pack.note.trim()] : [])
  ];
  const patients = found.patients.map((one) => {
    const contact = pack.contacts.get(one.patient_id);
    const categories = Object.entries(one.categories).map(([category, count]) => `${category}: ${count}`);
    return [
      one.patient_id,
      contact?.name ?? '',
      contact?.record ?? '',
      contact?.phone ?? '',
      one.count,
      one.first_at,
      one.last_at,
      categories.join('; ')
    ];
  });
  const files = [
    { name: 'README.txt', text: readme.join('\r\n') + '\r\n' },
    {
      name: 'question.json',
      text:
        JSON.stringify(
          {
            question,
            asked_at: pack.at.toISOString(),
            asked_by: pack.by,
            patients: found.patients.length,
            events: found.events,
            refused: found.refused,
            other_count: found.other_count,
            categories: sums(found)
          },
          null,
          2
        ) + '\n'
    },
    {
      name: 'affected-patients.csv',
      text: csvText([['patient', 'name', 'record number', 'phone', 'accesses', 'first', 'last', 'categories'], ...patients])
    },
    {
      name: 'other-accesses.csv',
      text: csvText([['entry', 'at', 'action', 'what'], ...found.others.map((one) => [one.seq, one.at, one.action, one.what])])
    }
  ];
  if (pack.head) files.push({ name: 'audit-head.txt', text: pack.head.text });
  return files;
}
export function packBlob(pack: Pack): Blob {
  return new Blob(zip(packFiles(pack), pack.at), { type: 'application/zip' });
}
