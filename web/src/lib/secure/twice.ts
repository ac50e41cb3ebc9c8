// Changes of accounts and applications that take two people: what waits, and who may do what about it.
import type { Role } from '$lib/api/types';
import { scopeKind } from './clients';
import type { AccountChange, ApplicationChange } from './types';

/** Roles that one person alone does not give: they read patients' facts or administer. */
export const TRUSTED: Role[] = ['doctor', 'nurse', 'lab', 'pharmacist', 'administrator', 'privacy-officer', 'it'];

/** Whether the answer to an act says that it waits for a second person. */
export function waits(reply: object | undefined): reply is AccountChange {
  return reply !== undefined && 'asked_by' in reply && 'act' in reply;
}
/** Whether who asked could get into the account with it. */
export function opens(change: Pick<AccountChange, 'act'>): boolean {
  return ['password', 'invitation', 'second-factor', 'identity'].includes(change.act);
}

export interface May {
  kind: 'may' | 'then' | 'now';
  scopes: { text: string; isNew: boolean }[];
}
/** What an application may do by itself: then and now where a change makes it another thing; without what people grant it. */
export function mayOf(application: Pick<ApplicationChange, 'scopes' | 'scopes_before'>): May[] {
  const own = (scopes: string[]) => scopes.filter((scope) => ['system', 'sealed'].includes(scopeKind(scope)));
  const [then, now] = [own(application.scopes), own(application.scopes_before)];
  const same = then.length === now.length && then.every((scope) => now.includes(scope));
  const parts: May[] =
    now.length === 0 || same
      ? [{ kind: 'may', scopes: then.map((text) => ({ text, isNew: false })) }]
      : [
          { kind: 'then', scopes: then.map((text) => ({ text, isNew: !now.includes(text) })) },
          { kind: 'now', scopes: now.map((text) => ({ text, isNew: false })) }
        ];
  return parts.filter((part) => part.scopes.length > 0);
}

export interface Part {
  /** The reader asked for it. */
  own: boolean;
  /** It is about the reader's account. */
  about: boolean;
  agree: boolean;
  refuse: boolean;
  /** Who asked may do it, because nobody else came. */
  alone: boolean;
  collect: boolean;
}
/** What this reader may do about a change at this instant. */
export function partOf(change: AccountChange, reader: string | undefined, now: number): Part {
  const own = change.asked_by === reader;
  const about = change.user_id === reader;
  const open = change.state === 'waiting';
  const alone = open && own && !!change.alone_from && Date.parse(change.alone_from) <= now;
  return { own, about, agree: open && !own && !about, refuse: open, alone, collect: own && change.to_collect };
}
