import { cases } from './cases.ts';
import { startWorkerd } from './runtimes.ts';

cases(startWorkerd);
