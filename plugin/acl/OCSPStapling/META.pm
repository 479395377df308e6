package Cpanel::Config::ConfigObj::Driver::OCSPStapling::META;

# Describes the driver beside it. Installed as
# /usr/local/cpanel/Cpanel/Config/ConfigObj/Driver/OCSPStapling/META.pm.
# Follows "Guide to WHM Plugins - The ACL Metadata Perl Module" (which forbids loading the driver from here).

use strict;
use warnings;

use parent qw(Cpanel::Config::ConfigObj::Interface::Config::Version::v1);

our $VERSION = '1.0';

sub spec_version    { return 1; }
sub meta_version    { return 1; }
sub get_driver_name { return 'OCSPStapling_driver'; }

sub content {
    return {
        vendor => 'OCSP Stapling for WHM',
        url    => '',
        name   => {
            short  => 'OCSP Stapling',
            long   => 'OCSP Stapling for WHM',
            driver => get_driver_name(),
        },
        since    => 'cPanel & WHM version 110',
        abstract => 'Tells why HTTPS hangs when Apache cannot reach an OCSP responder, and ends it safely.',
        version  => $VERSION,
    };
}

sub showcase { return; }

1;
