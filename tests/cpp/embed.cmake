# SPDX-License-Identifier: MIT
# cmake -DFROM=model.tow -DTO=model.inc -P embed.cmake: what `xxd -i` does.
file(READ ${FROM} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes ${hex})
string(REGEX REPLACE "((0x..,){16})" "\\1\n" bytes ${bytes})
file(WRITE ${TO} "${bytes}\n")
