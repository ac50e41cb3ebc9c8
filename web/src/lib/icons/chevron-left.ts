import { icon } from './icon';

export default icon('M15 18l-6-6 6-6');
