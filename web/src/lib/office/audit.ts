import { t, tOr } from '$lib/i18n/index.svelte';

/** A record named in an audit row: `Patient/1`, `Observation?patient=1&code=2`, `account/7`. */
export interface Thing {
  kind: string;
  id?: string;
  /** Parameters of a search, decoded. */
  about?: string;
}

/** How a list was cut and ordered says nothing about what was looked for. */
const HOW = /^_(sort|count|cursor|total|summary|elements|format)=/;

/** `code=a%20b` decoded, what was typed in quotes; a list of ids becomes its length. */
function spoken(part: string): string {
  const [name = '', value = ''] = part.split(/=(.*)/s);
  let text = value.replaceAll('+', ' ');
  try {
    text = decodeURIComponent(text);
  } catch {
    // Half an escape: shown as it was recorded.
  }
  const ids = text.split(',');
  if (name === '_id' && ids.length > 1) return t('audit.records', { count: ids.length });
  if (name === '_text' || name === '_content') return `“${text}”`;
  // A reference is told apart by its first characters.
  return `${name}=${text.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, shortId)}`;
}

export function thingOf(what: string): Thing | undefined {
  if (!what) return undefined;
  const question = what.indexOf('?');
  if (question >= 0) {
    const parts = what.slice(question + 1).split('&').filter((part) => !HOW.test(part));
    return { kind: what.slice(0, question), about: parts.filter((part) => !/=$/.test(part)).map(spoken).join(', ') || undefined };
  }
  const [kind, ...rest] = what.split('/');
  return { kind: kind!, id: rest.join('/') || undefined };
}
/** The start of a long id, enough to tell two apart on one screen. */
export function shortId(id: string): string {
  return id.length > 12 ? `${id.slice(0, 8)}…` : id;
}
/** `opened`, `booked an appointment`, or the recorded word when it has no words of its own. */
export function actionText(action: string): string {
  return tOr(`did.${action}`, action);
}
/** Commands say in words what they were about; plain reads and writes need their object. */
export function needsObject(action: string): boolean {
  return !action.includes('.') && !['login', 'logout', 'import', 'duplicates'].includes(action);
}
/** Whether an action only looked at something. */
export function isLook(action: string): boolean {
  return /^(read|vread|history|query|search|duplicates|.*\.(list|read|candidates|search))$/.test(action);
}
export function thingText(thing: Thing): string {
  const name = tOr(`thing.${thing.kind}`, thing.kind);
  if (thing.id) return `${name} ${shortId(thing.id)}`;
  return name;
}
export function roleText(roles: string): string {
  return roles
    .split(',')
    .filter(Boolean)
    .map((role) => tOr(`role.${role.trim()}`, role.trim()))
    .join(', ');
}
/** Who acted; programs and visitors without a name have words of their own. */
export function agentText(agent: string, display: string): string {
  if (display) return display;
  if (agent === 'anonymous') return t('audit.anonymous');
  return agent.startsWith('system/') ? t('role.system') : agent;
}
