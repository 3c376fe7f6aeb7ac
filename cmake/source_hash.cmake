# Writes HEADER with one hash over all SOURCES. Run as: cmake -DHEADER=... -DSOURCES=... -P this
set(hashes "")
foreach(source ${SOURCES})
  file(SHA256 ${source} hash)
  string(APPEND hashes ${hash})
endforeach()
string(SHA256 all "${hashes}")
file(WRITE ${HEADER} "#pragma once\ninline constexpr char kSourceHash[] = \"${all}\";\n")
