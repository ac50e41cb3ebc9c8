import type { components } from '$lib/api/schema';
import type { Me } from '$lib/api/types';

export type Notice = components['schemas']['Notice'];

/** What a notice is about for this reader: told to a role, to who acts for a patient, or to whom it concerns. */
export function flavour(notice: Notice, me: Me): 'officer' | 'acting' | 'own' {
  if (notice.role) return 'officer';
  const about = notice.data as { account?: number | string };
  return notice.topic === 'proxy.granted' && String(about.account) === me.account_id ? 'acting' : 'own';
}

/** Where the reader looks after what a notice tells; undefined where no page of hers shows it. */
export function placeOf(notice: Notice, me: Me): string | undefined {
  const has = (...roles: Me['roles']) => roles.some((role) => me.roles.includes(role));
  const [about, what] = notice.topic.split('.');
  switch (about) {
    case 'emergency':
      if (notice.role) return has('privacy-officer') ? `/admin/emergencies/${encodeURIComponent(notice.subject)}` : undefined;
      return what === 'begun' && me.patient_id === notice.patient_id ? '/who-saw' : undefined;
    case 'rights':
      return has('administrator', 'privacy-officer') ? '/admin/rights/changes' : undefined;
    case 'account-change':
    case 'client-change':
      return has('administrator', 'privacy-officer') ? '/admin/rights/accounts' : undefined;
    case 'client':
      return has('administrator') ? `/admin/apps/${encodeURIComponent(notice.subject)}` : undefined;
    case 'account': {
      const whose = (notice.data as { about?: number | string }).about ?? notice.subject;
      return has('administrator') ? `/admin/users/${encodeURIComponent(String(whose))}` : undefined;
    }
    case 'sensitivity':
      return has('privacy-officer') ? '/admin/rights' : undefined;
    case 'proxy':
      if (what === 'asked' || what === 'confirmed' || what === 'refused') {
        if (has('front-desk') && notice.patient_id) return `/desk/patients/${encodeURIComponent(notice.patient_id)}`;
        return has('privacy-officer') ? '/admin/grants' : undefined;
      }
      return notice.role ? undefined : '/sharing';
    default:
      return undefined;
  }
}
