// SPDX-License-Identifier: MIT
import * as ut from '../../src/js/index.js';

console.log(JSON.stringify(ut.runnable()));
