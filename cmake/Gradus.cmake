# Models in a CMake build. After include(.../cmake/Gradus.cmake):
#
#   gradus_compile(<target> <model.json>
#     [NAME <name>]              beginning of the names in <target>.h (default: <target>)
#     [WHAT <function>...]       init, train, evaluate, predict (default: train predict);
#                                or generate, alone
#     [ISA <instruction set>...] (default: the greatest of this machine)
#     [BATCH <examples>...]      (default: the model's)
#     [SET <key=value>...])      overrides of values of the model file
#
# compiles the model ahead of time to a static library <target> with the header <target>.h. Targets
# that link with it find the header, and are built again when the model or gradus change. GRADUS_PROGRAM
# is the program gradus.

find_program(GRADUS_PROGRAM gradus HINTS ${CMAKE_CURRENT_LIST_DIR}/../build/release REQUIRED
             DOC "The program gradus, which compiles models")

function(gradus_compile target model)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "NAME" "WHAT;ISA;BATCH;SET")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "gradus_compile(${target}): unknown arguments ${arg_UNPARSED_ARGUMENTS}; "
                        "expected NAME, WHAT, ISA, BATCH or SET")
  endif()
  get_filename_component(model ${model} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT arg_NAME)
    string(MAKE_C_IDENTIFIER ${target} arg_NAME)
  endif()
  set(options --name ${arg_NAME})
  foreach(option WHAT ISA BATCH)
    if(arg_${option})
      string(TOLOWER ${option} word)
      list(JOIN arg_${option} "," values)
      list(APPEND options --${word} ${values})
    endif()
  endforeach()
  foreach(value IN LISTS arg_SET)
    list(APPEND options --set ${value})
  endforeach()
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${target}.gradus)
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(
    OUTPUT ${folder}/${target}.o ${folder}/${target}.h
    COMMAND ${GRADUS_PROGRAM} compile ${model} -o ${folder}/${target}.o ${options}
    DEPENDS ${model} ${GRADUS_PROGRAM}
    COMMENT "Compiling ${target} from ${model}"
    VERBATIM)
  set_source_files_properties(${folder}/${target}.o PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  add_library(${target} STATIC ${folder}/${target}.o ${folder}/${target}.h)
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE C)
  target_include_directories(${target} INTERFACE ${folder})
  target_link_libraries(${target} INTERFACE m pthread)
endfunction()
