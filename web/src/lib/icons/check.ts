import { icon } from './icon';

export default icon('M20 6 9 17l-5-5');
