import { declare } from './cases.ts';

declare('worker');
