#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/printer.h>

#include <string>
#include <vector>

// Prints tables.cc, the constants that core/image/fields.h describes. False with `why` where a .proto file uses what they cannot express.
bool print_tables(const std::vector<const google::protobuf::Descriptor*>& messages, google::protobuf::io::Printer& out, std::string& why);
