/* SPDX-License-Identifier: MIT
 * The program under an operating system: prints, and takes the number of steps. */
#include <stdio.h>
#include <stdlib.h>

#include "program.h"

void put(const char* text) { fputs(text, stdout); }
void quit(int status) { exit(status); }
int main(int argc, char** argv) { return run(argc > 1 ? (size_t)atoi(argv[1]) : 16); }
