import { formatDate, formatMoment } from '$lib/format/date';
import { t, tOr } from '$lib/i18n/index.svelte';
import type { ExplainStep } from './types';

const known = (prefix: string, code: string | undefined) => (code ? tOr(`${prefix}.${code}`, code) : '');

/** `Appointment/0123… (until 2026-11-30), CareTeam/1` in the reader's words. */
export function reasonsText(by: string): string {
  return by
    .split(', ')
    .map((one) => {
      const match = /^([A-Za-z]+)\/(\S+?)(?: \(until (\d{4}-\d{2}-\d{2})\))?$/.exec(one);
      if (!match) return one;
      const [, type, id, until] = match;
      const what = `${tOr(`thing.${type}`, type!)} ${id!.length > 12 ? `${id!.slice(0, 8)}…` : id}`;
      return until ? t('explain.until', { what, day: formatDate(until) }) : what;
    })
    .join(', ');
}

/** One step in the reader's language; the server's English where there are no words for it here. */
export function stepText(step: ExplainStep): string {
  const facts = (step.facts ?? {}) as Record<string, string>;
  const parameters = {
    role: known('role', facts.role),
    class: known('class', facts.class),
    verb: known('verb', facts.verb),
    reach: known('reachof', facts.reach),
    until: facts.until?.includes('T') ? formatMoment(facts.until) : formatDate(facts.until),
    by: facts.by ? reasonsText(facts.by) : '',
    seals: (facts.seals ?? '')
      .split(' ')
      .filter(Boolean)
      .map((code) => known('seal', code))
      .join(', '),
    scopes: facts.scopes ?? ''
  };
  const text = step.code ? tOr(`step.${step.code}`, step.text, parameters) : step.text;
  return facts.clinic ? `${text} ${t('explain.by_clinic')}` : text;
}
