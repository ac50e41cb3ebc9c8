import { PRESETS, keySetOf, linesOf, readsForItself, redirectFits, scopeKind, scopesOf, type Preset } from '$lib/secure/clients';
import type { Client, NewClient } from '$lib/secure/types';
import { t } from '$lib/i18n/index.svelte';

/** What the form holds, as it is typed. */
export interface AppDraft {
  preset: Preset;
  name: string;
  scopes: string;
  authentication: Client['authentication'];
  redirects: string;
  launchUrl: string;
  jwks: string;
  jwksUrl: string;
  algorithm: string;
  /** For the second person, where one must agree. */
  reason: string;
}

export function emptyDraft(): AppDraft {
  return {
    preset: 'patient-app',
    name: '',
    scopes: PRESETS['patient-app'].scopes.join('\n'),
    authentication: PRESETS['patient-app'].authentication,
    redirects: '',
    launchUrl: '',
    jwks: '',
    jwksUrl: '',
    algorithm: 'RS256',
    reason: ''
  };
}
export function draftOf(client: Client): AppDraft {
  return {
    preset: 'patient-app',
    name: client.name,
    scopes: client.scopes.join('\n'),
    authentication: client.authentication,
    redirects: client.redirect_uris.join('\n'),
    launchUrl: client.launch_url ?? '',
    jwks: '',
    jwksUrl: client.jwks_url ?? '',
    algorithm: client.id_token_algorithm,
    reason: ''
  };
}
const people = (draft: AppDraft) => scopesOf(draft.scopes).some((scope) => !['system', 'sealed'].includes(scopeKind(scope)));

/** Whether a second person must agree, as it is typed or as it was before. */
export function takesTwo(draft: Pick<AppDraft, 'scopes'>, existing?: Client): boolean {
  return readsForItself(scopesOf(draft.scopes)) || readsForItself(existing?.scopes ?? []);
}

/** What is wrong, by field. */
export function problemsOf(draft: AppDraft, hasKeys: boolean): Record<string, string | undefined> {
  const keys = draft.jwks.trim() ? keySetOf(draft.jwks) : null;
  const needsKeys = draft.authentication === 'key' && !hasKeys && !draft.jwksUrl.trim() && keys === null;
  const redirects = linesOf(draft.redirects);
  const wrong = redirects.find((one) => !redirectFits(one));
  return {
    name: draft.name.trim() ? undefined : t('error.required'),
    scopes: scopesOf(draft.scopes).length > 0 ? undefined : t('error.required'),
    jwks: keys === 'private' ? t('app.jwks_private') : keys === undefined ? t('app.jwks_wrong') : needsKeys ? t('app.jwks_needed') : undefined,
    redirect_uris:
      people(draft) && redirects.length === 0 ? t('app.redirect_needed') : wrong && people(draft) ? t('app.redirect_wrong', { address: wrong }) : undefined
  };
}
/** The fields that both a new application and a change send. */
export function bodyOf(draft: AppDraft): Omit<NewClient, 'id_token_algorithm' | 'authentication'> {
  const keys = draft.jwks.trim() ? keySetOf(draft.jwks) : undefined;
  const forPeople = people(draft);
  return {
    name: draft.name.trim(),
    scopes: scopesOf(draft.scopes),
    redirect_uris: forPeople ? linesOf(draft.redirects) : [],
    ...(forPeople && draft.launchUrl.trim() ? { launch_url: draft.launchUrl.trim() } : {}),
    ...(draft.authentication === 'key' && keys && keys !== 'private' ? { jwks: keys as unknown as Record<string, never> } : {}),
    ...(draft.authentication === 'key' && draft.jwksUrl.trim() ? { jwks_url: draft.jwksUrl.trim() } : {}),
    ...(draft.reason.trim() ? { reason: draft.reason.trim() } : {})
  };
}
