package Cpanel::Config::ConfigObj::Interface::Config::Version::v1;

# Stand-in for the parent of ACL metadata, as "Guide to WHM Plugins - The ACL Metadata Perl Module" uses it.

use strict;
use warnings;

sub spec_version { return 1; }

1;
