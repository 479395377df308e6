package Cpanel::Config::ConfigObj::Driver::OCSPStapling;

# Lets root grant the privilege `software-ocsp-stapling` to resellers (WHM >> Edit Reseller Nameservers and
# Privileges). Installed as /usr/local/cpanel/Cpanel/Config/ConfigObj/Driver/OCSPStapling.pm.
# Follows "Guide to WHM Plugins - The ACL Object Perl Module". The namespace is a Perl identifier, so it has no
# hyphen; the privilege's name is data that `acl_desc` returns and must only begin with `software-`.

use strict;
use warnings;

use parent qw(Cpanel::Config::ConfigObj::Interface::Config::v1);

our $VERSION = '1.0';

sub init {
    my ( $class, $software ) = @_;
    return $class->SUPER::base( { thirdparty_ns => 'OCSPStapling', meta => {} }, $software );
}

sub info {
    my ($self) = @_;
    return $self->meta()->abstract();
}

sub acl_desc {
    return [
        {
            acl              => 'software-ocsp-stapling',
            default_value    => 0,
            default_ui_value => 0,
            name             => 'OCSP Stapling (see the diagnosis for their own accounts)',
            acl_subcat       => 'Third-Party Services',
        },
    ];
}

1;
