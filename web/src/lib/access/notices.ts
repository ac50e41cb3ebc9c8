/** Where an officer looks after what a notice tells. */
export function placeOf(notice: { topic: string; subject: string }): string | undefined {
  const [about] = notice.topic.split('.');
  switch (about) {
    case 'emergency':
      return `/admin/emergencies/${encodeURIComponent(notice.subject)}`;
    case 'rights':
      return '/admin/rights/changes';
    case 'sensitivity':
      return '/admin/rights';
    default:
      return undefined;
  }
}
