import { icon } from './icon';

export default icon('M9 18l6-6-6-6');
