# Writes HEADER with the bytes of files as arrays. Run as:
# cmake -DHEADER=... "-DFILES=name;path;name;path..." -P this
set(text "#pragma once\n")
while(FILES)
  list(POP_FRONT FILES name path)
  file(READ ${path} digits HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${digits}")
  string(APPEND text "inline constexpr unsigned char ${name}[] = {${bytes}};\n")
endwhile()
file(WRITE ${HEADER} "${text}")
