// The menu of the administration, in groups; everybody sees what her roles open.
import CalendarClock from '$lib/icons/calendar-clock';
import Fingerprint from '$lib/icons/fingerprint-pattern';
import Gauge from '$lib/icons/gauge';
import HardDrive from '$lib/icons/hard-drive';
import LayoutGrid from '$lib/icons/layout-grid';
import ListTodo from '$lib/icons/list-todo';
import MessageSquare from '$lib/icons/message-square';
import Plug from '$lib/icons/plug';
import Scale from '$lib/icons/scale';
import ScrollText from '$lib/icons/scroll-text';
import ShieldAlert from '$lib/icons/shield-alert';
import ShieldCheck from '$lib/icons/shield-check';
import Tags from '$lib/icons/tags';
import Users from '$lib/icons/users';
import UsersRound from '$lib/icons/users-round';
import type { Role } from '$lib/api/types';
import { t } from '$lib/i18n/index.svelte';
import { session } from '$lib/session.svelte';
import type { NavItem } from '$lib/ui/nav';

const CHIEF: Role[] = ['administrator'];
const WATCH: Role[] = ['administrator', 'privacy-officer'];
const OFFICER: Role[] = ['privacy-officer'];
const RUN: Role[] = ['administrator', 'it'];
const ANY: Role[] = ['administrator', 'privacy-officer', 'it'];

export function adminItems(): NavItem[] {
  const [people, clinic, protection, privacy, system] = (['people', 'clinic', 'protection', 'privacy', 'system'] as const).map((name) =>
    t(`navgroup.${name}`)
  );
  const all: [Role[], NavItem][] = [
    [ANY, { href: '/admin', label: t('nav.overview'), icon: Gauge }],
    [CHIEF, { href: '/admin/users', label: t('nav.users'), icon: UsersRound, under: true, group: people }],
    [CHIEF, { href: '/admin/hours', label: t('nav.all_hours'), icon: CalendarClock, group: people }],
    [CHIEF, { href: '/admin/prices', label: t('nav.prices'), icon: Tags, group: clinic }],
    [WATCH, { href: '/admin/rights', label: t('nav.rights'), icon: Scale, under: true, group: protection }],
    [CHIEF, { href: '/admin/security', label: t('nav.security'), icon: Fingerprint, under: true, group: protection }],
    [CHIEF, { href: '/admin/apps', label: t('nav.apps'), icon: LayoutGrid, under: true, group: protection }],
    [WATCH, { href: '/admin/audit', label: t('nav.audit'), icon: ScrollText, under: true, group: privacy }],
    [OFFICER, { href: '/admin/emergencies', label: t('nav.emergencies'), short: t('nav.emergencies_short'), icon: ShieldAlert, under: true, group: privacy }],
    [OFFICER, { href: '/admin/grants', label: t('nav.grants'), short: t('nav.grants_short'), icon: Users, group: privacy }],
    [WATCH, { href: '/admin/privacy', label: t('nav.privacy'), short: t('nav.privacy_short'), icon: ShieldCheck, under: true, group: privacy }],
    [RUN, { href: '/admin/backups', label: t('nav.backups'), icon: HardDrive, under: true, group: system }],
    [RUN, { href: '/admin/jobs', label: t('nav.jobs'), icon: ListTodo, group: system }],
    [RUN, { href: '/admin/messages', label: t('nav.messages'), icon: MessageSquare, group: system }],
    [RUN, { href: '/admin/integrations', label: t('nav.integrations'), icon: Plug, group: system }]
  ];
  return all.filter(([roles]) => session.has(...roles)).map(([, item]) => item);
}
