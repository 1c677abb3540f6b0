#include "ctl/command_line.h"

int main(int argc, char** argv) { return inferd::ctl::run(argc, argv); }
