package Cpanel::Config::ConfigObj::Interface::Config::v1;

# Stand-in for the parent of ACL drivers, as "Guide to WHM Plugins - The ACL Object Perl Module" uses it.

use strict;
use warnings;

sub base {
    my ( $class, $defaults, $software ) = @_;
    return bless { %{$defaults}, software => $software }, $class;
}

1;
