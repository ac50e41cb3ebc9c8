import type { Medication } from '$lib/api/types';

/** The same medicine line, given once or many times; `last` is its newest prescription. */
export interface MedicineGroup {
  last: Medication;
  count: number;
}

/** What is taken now and what was taken before, each line once, newest first. */
export function groupMedicines(all: Medication[], today: string): { current: MedicineGroup[]; earlier: MedicineGroup[] } {
  const groups = new Map<string, MedicineGroup>();
  for (const one of [...all].sort((a, b) => b.prescribed_at.localeCompare(a.prescribed_at))) {
    const key = `${one.name}|${one.line}|${one.status === 'entered-in-error'}`;
    const group = groups.get(key);
    if (group) group.count += 1;
    else groups.set(key, { last: one, count: 1 });
  }
  const current: MedicineGroup[] = [];
  const earlier: MedicineGroup[] = [];
  for (const group of groups.values()) {
    const { status, until } = group.last;
    const over = ['completed', 'stopped', 'cancelled', 'entered-in-error'].includes(status) || (!!until && until.slice(0, 10) < today);
    (over ? earlier : current).push(group);
  }
  return { current, earlier };
}
